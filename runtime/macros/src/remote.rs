//! `#[remote]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{ItemFn, Result};

use crate::free::{self, Parts};
use crate::signature::Shape;

pub(crate) fn expand(arguments: &TokenStream, function: &ItemFn) -> Result<TokenStream> {
    free::check("remote", arguments, function)?;
    let shape = Shape::of(&function.sig)?;
    let (name, names) = (&function.sig.ident, shape.names());
    let parts = Parts {
        remote: fingerprint(),
        types: TokenStream::new(),
        runs: quote!(::runtime::Function),
        seed: TokenStream::new(),
        body: shape.as_result(&quote!(#name(#(#names),*).await)),
        entry: quote!(function),
    };
    Ok(free::beside(function, &shape, &parts))
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
