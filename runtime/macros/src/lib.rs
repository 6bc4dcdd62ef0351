//! The attributes of `runtime`: `main`, `remote`, `actor`, `context`, `stream`, `test`. Use them by way of that crate, where they are documented beside what
//! they stand for.
//!
//! Each attribute is one file: the item is read into what is known of it, then written out. What several need to know of a
//! function's signature is in `signature`, and what those on free functions share in `free`.

mod actor;
mod context;
mod entry;
mod free;
mod remote;
mod signature;
mod test;

use proc_macro::TokenStream;
use syn::parse_macro_input;

/// Makes `async fn main` the root actor of a program.
#[proc_macro_attribute]
pub fn main(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let arguments = proc_macro2::TokenStream::from(arguments);
    let function = parse_macro_input!(item as syn::ItemFn);
    entry::expand(&arguments, function).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Lets an `async fn` be called in another actor.
#[proc_macro_attribute]
pub fn remote(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let arguments = proc_macro2::TokenStream::from(arguments);
    let function = parse_macro_input!(item as syn::ItemFn);
    remote::expand(&arguments, &function).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Lets an `async fn` be run in another actor as one end of a context.
#[proc_macro_attribute]
pub fn context(arguments: TokenStream, item: TokenStream) -> TokenStream {
    expand_linked(context::Kind::Context, arguments, item)
}

/// Lets an `async fn` send a stream of values from another actor.
#[proc_macro_attribute]
pub fn stream(arguments: TokenStream, item: TokenStream) -> TokenStream {
    expand_linked(context::Kind::Stream, arguments, item)
}

fn expand_linked(kind: context::Kind, arguments: TokenStream, item: TokenStream) -> TokenStream {
    let arguments = proc_macro2::TokenStream::from(arguments);
    let function = parse_macro_input!(item as syn::ItemFn);
    context::expand(kind, &arguments, &function)
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

/// Lets the `async` methods of an `impl` block be called in an actor whose state the type is.
#[proc_macro_attribute]
pub fn actor(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let arguments = proc_macro2::TokenStream::from(arguments);
    let block = parse_macro_input!(item as syn::ItemImpl);
    actor::expand(arguments, &block).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Runs an `async fn` as a test, as the root actor of a process of its own.
#[proc_macro_attribute]
pub fn test(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let mut options = test::Options::default();
    let parser = syn::meta::parser(|meta| options.take(&meta));
    parse_macro_input!(arguments with parser);
    let function = parse_macro_input!(item as syn::ItemFn);
    test::expand(&options, function).unwrap_or_else(syn::Error::into_compile_error).into()
}
