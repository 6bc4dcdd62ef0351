//! `#[remote]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, ItemFn, Result};

use crate::signature::Shape;

pub(crate) fn expand(arguments: &TokenStream, function: &ItemFn) -> Result<TokenStream> {
    if !arguments.is_empty() {
        return Err(Error::new_spanned(arguments, "`remote` takes no arguments"));
    }
    if function.sig.asyncness.is_none() {
        return Err(Error::new_spanned(
            function.sig.fn_token,
            "what an actor runs is async: write `async fn`",
        ));
    }
    if let Some(receiver) = function.sig.receiver() {
        return Err(Error::new_spanned(
            receiver,
            "a method belongs to an actor: put `#[runtime::actor]` on its impl block",
        ));
    }
    let shape = Shape::of(&function.sig)?;
    let (name, visibility) = (&function.sig.ident, &function.vis);
    let docs = function.attrs.iter().filter(|attribute| attribute.path().is_ident("doc"));
    let (args_type, output, error) = (shape.args_type(), shape.output_type(), shape.error_type());
    let (tuple, names) = (shape.args_tuple(), shape.names());
    let result = shape.as_result(&quote!(#name(#(#names),*).await));
    let fingerprint = fingerprint();
    Ok(quote! {
        #function

        #(#docs)*
        #[allow(non_camel_case_types, reason = "it goes by the function's name")]
        #visibility struct #name {}

        const _: () = {
            impl ::runtime::Remote for #name {
                const NAME: &'static str = ::core::concat!(
                    ::core::module_path!(), "::", ::core::stringify!(#name), "@", ::core::line!(), ":", ::core::column!()
                );
                type Args = #args_type;
                type Output = #output;
                type Error = #error;
                #fingerprint
            }

            impl ::runtime::Function for #name {
                fn run(
                    #tuple: #args_type,
                ) -> impl ::core::future::Future<Output = ::core::result::Result<#output, #error>> + 'static {
                    async move { #result }
                }
            }

            #[::runtime::__private::linkme::distributed_slice(::runtime::__private::ENTRIES)]
            #[linkme(crate = ::runtime::__private::linkme)]
            static ENTRY: ::runtime::__private::Entry = ::runtime::__private::Entry::function::<#name>();
        };
    })
}

/// `Remote::fingerprint`, which makes it once.
pub(crate) fn fingerprint() -> TokenStream {
    quote! {
        fn fingerprint() -> u64 {
            static KEPT: ::runtime::__private::Kept = ::runtime::__private::Kept::new();
            KEPT.get(::runtime::__private::fingerprint_of::<Self>)
        }
    }
}
