//! `#[context]` and `#[stream]`, on free functions.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Attribute, Error, ItemFn, Result};

use crate::signature::{Linked, Shape};

/// What a function that runs in a context is given first.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Its end of the context.
    Context,
    /// What it sends into.
    Stream,
}

impl Kind {
    /// That an attribute on a method says.
    pub(crate) fn of(attribute: &Attribute) -> Option<Kind> {
        let word = &attribute.path().segments.last()?.ident;
        [Kind::Context, Kind::Stream].into_iter().find(|kind| word == kind.word())
    }

    /// The attribute's name.
    fn word(self) -> &'static str {
        match self {
            Kind::Context => "context",
            Kind::Stream => "stream",
        }
    }

    /// What the first parameter is to be.
    pub(crate) fn first(self) -> &'static str {
        match self {
            Kind::Context => "its first parameter is its `Context<Started, Receives, Sends>`",
            Kind::Stream => "its first parameter is the `Sender<Item>` it sends into",
        }
    }

    /// `impl ContextFunction for marker`, and what goes with it.
    pub(crate) fn implement_types(self, marker: &TokenStream, first: &TokenStream) -> TokenStream {
        let fingerprint = quote! {
            fn context_fingerprint() -> u64 {
                static KEPT: ::runtime::__private::Kept = ::runtime::__private::Kept::new();
                KEPT.get(::runtime::__private::context_fingerprint_of::<Self>)
            }
        };
        match self {
            Kind::Context => quote! {
                impl ::runtime::ContextFunction for #marker {
                    type Started = <#first as ::runtime::__private::Served>::Started;
                    type Receives = <#first as ::runtime::__private::Served>::Receives;
                    type Sends = <#first as ::runtime::__private::Served>::Sends;
                    #fingerprint
                }
            },
            Kind::Stream => quote! {
                impl ::runtime::ContextFunction for #marker {
                    type Started = ();
                    type Receives = ::runtime::Never;
                    type Sends = <#first as ::runtime::__private::OutItem>::Item;
                    #fingerprint
                }

                impl ::runtime::StreamFunction for #marker {}
            },
        }
    }

    /// A function of that shape, without its name.
    pub(crate) fn opaque(self, first: &TokenStream, shape: &Shape) -> TokenStream {
        let (args, output, error) = (shape.args_type(), shape.output_type(), shape.error_type());
        match self {
            Kind::Context => quote! {
                impl ::runtime::ContextFunction<
                    Args = #args, Output = #output, Error = #error,
                    Started = <#first as ::runtime::__private::Served>::Started,
                    Receives = <#first as ::runtime::__private::Served>::Receives,
                    Sends = <#first as ::runtime::__private::Served>::Sends,
                > + use<>
            },
            Kind::Stream => quote! {
                impl ::runtime::StreamFunction<
                    Args = #args, Output = #output, Error = #error,
                    Sends = <#first as ::runtime::__private::OutItem>::Item,
                > + use<>
            },
        }
    }

    /// The first argument, made of `seed`.
    pub(crate) fn first_argument(self, first: &TokenStream) -> TokenStream {
        match self {
            Kind::Context => quote!(<#first as ::runtime::__private::Served>::new(seed)),
            Kind::Stream => quote!(::runtime::__private::one_way(seed).await),
        }
    }
}

pub(crate) fn expand(
    kind: Kind,
    arguments: &TokenStream,
    function: &ItemFn,
) -> Result<TokenStream> {
    if !arguments.is_empty() {
        let why = format!("`{}` takes no arguments", kind.word());
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
    let Linked { first, shape } = Shape::of_linked(&function.sig, kind.first())?;
    Ok(implement(kind, function, &quote!(#first), &shape))
}

fn implement(kind: Kind, function: &ItemFn, first: &TokenStream, shape: &Shape) -> TokenStream {
    let (name, visibility) = (&function.sig.ident, &function.vis);
    let docs = function.attrs.iter().filter(|attribute| attribute.path().is_ident("doc"));
    let (args_type, output, error) = (shape.args_type(), shape.output_type(), shape.error_type());
    let (tuple, names) = (shape.args_tuple(), shape.names());
    let types = kind.implement_types(&quote!(#name), first);
    let first = kind.first_argument(first);
    let result = shape.as_result(&quote!(#name(first, #(#names),*).await));
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
            }

            #types

            impl ::runtime::__private::FreeContext for #name {
                fn run(
                    seed: ::runtime::__private::Seed,
                    #tuple: #args_type,
                ) -> impl ::core::future::Future<Output = ::core::result::Result<#output, #error>> + 'static {
                    async move {
                        let first = #first;
                        #result
                    }
                }
            }

            #[::runtime::__private::linkme::distributed_slice(::runtime::__private::ENTRIES)]
            #[linkme(crate = ::runtime::__private::linkme)]
            static ENTRY: ::runtime::__private::Entry = ::runtime::__private::Entry::context::<#name>();
        };
    }
}
