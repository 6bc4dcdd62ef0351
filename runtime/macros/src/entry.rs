//! `#[main]`: the whole program around an async `main`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, ItemFn, Result};

pub(crate) fn expand(arguments: &TokenStream, function: ItemFn) -> Result<TokenStream> {
    if !arguments.is_empty() {
        return Err(Error::new_spanned(arguments, "`main` takes no arguments"));
    }
    check(&function)?;
    let ItemFn { attrs, block, sig, .. } = function;
    let output = &sig.output;
    Ok(quote! {
        fn main() -> ::std::process::ExitCode {
            #(#attrs)*
            async fn root() #output #block
            ::runtime::__private::run_main(root)
        }
    })
}

fn check(function: &ItemFn) -> Result<()> {
    let signature = &function.sig;
    if signature.asyncness.is_none() {
        return Err(Error::new_spanned(
            signature.fn_token,
            "the root actor is async: write `async fn main`",
        ));
    }
    if signature.ident != "main" {
        return Err(Error::new_spanned(
            &signature.ident,
            "only `main` can be the root actor of a program",
        ));
    }
    if !signature.inputs.is_empty() {
        return Err(Error::new_spanned(&signature.inputs, "`main` takes no arguments"));
    }
    Ok(())
}
