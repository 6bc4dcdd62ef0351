//! `#[context]` and `#[stream]`, on free functions.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Attribute, ItemFn, Result};

use crate::free::{self, Parts};
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
    free::check(kind.word(), arguments, function)?;
    let Linked { first, shape } = Shape::of_linked(&function.sig, kind.first())?;
    Ok(implement(kind, function, &quote!(#first), &shape))
}

fn implement(kind: Kind, function: &ItemFn, first: &TokenStream, shape: &Shape) -> TokenStream {
    let (name, names) = (&function.sig.ident, shape.names());
    let argument = kind.first_argument(first);
    let result = shape.as_result(&quote!(#name(first, #(#names),*).await));
    let parts = Parts {
        remote: TokenStream::new(),
        types: kind.implement_types(&quote!(#name), first),
        runs: quote!(::runtime::__private::FreeContext),
        seed: quote!(seed: ::runtime::__private::Seed,),
        body: quote! {
            let first = #argument;
            #result
        },
        entry: quote!(context),
    };
    free::beside(function, shape, &parts)
}
