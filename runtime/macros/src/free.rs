//! What `#[remote]`, `#[context]` and `#[stream]` on a free function share: what they refuse, and the type that stands for the
//! function beside it.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, ItemFn, Result};

use crate::signature::Shape;

/// Refuses what no attribute named `word` can be on.
pub(crate) fn check(word: &str, arguments: &TokenStream, function: &ItemFn) -> Result<()> {
    if !arguments.is_empty() {
        let why = format!("`{word}` takes no arguments");
        return Err(Error::new_spanned(arguments, why));
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
    Ok(())
}

/// What of the stand-in differs from attribute to attribute.
pub(crate) struct Parts {
    /// Beside the types in `impl Remote`.
    pub(crate) remote: TokenStream,
    /// Implementations that say what it is.
    pub(crate) types: TokenStream,
    /// The trait that runs it.
    pub(crate) runs: TokenStream,
    /// What `run` takes before the arguments.
    pub(crate) seed: TokenStream,
    /// What `run` does.
    pub(crate) body: TokenStream,
    /// How the table of entries has it: a constructor of `Entry`.
    pub(crate) entry: TokenStream,
}

/// The function as it was, and its stand-in.
pub(crate) fn beside(function: &ItemFn, shape: &Shape, parts: &Parts) -> TokenStream {
    let (name, visibility) = (&function.sig.ident, &function.vis);
    let docs = function.attrs.iter().filter(|attribute| attribute.path().is_ident("doc"));
    let (args_type, output, error) = (shape.args_type(), shape.output_type(), shape.error_type());
    let tuple = shape.args_tuple();
    let Parts { remote, types, runs, seed, body, entry } = parts;
    quote! {
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
                #remote
            }

            #types

            impl #runs for #name {
                fn run(
                    #seed
                    #tuple: #args_type,
                ) -> impl ::core::future::Future<Output = ::core::result::Result<#output, #error>> + 'static {
                    async move { #body }
                }
            }

            #[::runtime::__private::linkme::distributed_slice(::runtime::__private::ENTRIES)]
            #[linkme(crate = ::runtime::__private::linkme)]
            static ENTRY: ::runtime::__private::Entry = ::runtime::__private::Entry::#entry::<#name>();
        };
    }
}
