//! The attributes of `runner-harness`: `#[runner::test]` with its marks, and `marks!`.
//!
//! Both only write registrations of constants. What a mark names (backends, capabilities, axes)
//! is checked later against the manifest, where the names are known.

mod mark;

use mark::Mark;
use proc_macro2::TokenStream;
use quote::quote;
use syn::parse::Parser;
use syn::punctuated::Punctuated;
use syn::{ItemFn, LitStr, Meta, Token, parse_macro_input};

/// Registers a function as a test. It may be async, take the `Case` or nothing, and return
/// nothing or a `Result`. Marks stand below it, one attribute each:
///
/// - `#[needs("capability", …)]`
/// - `#[skip_on_backend("name", …, reason = "…")]`
/// - `#[xfail_on_backend("name", …, strict, reason = "…")]`
/// - `#[timeout("10s")]`
/// - `#[group("name")]`
/// - `#[ignore]` or `#[ignore = "reason"]`
/// - `#[axes("transport", …)]`
#[proc_macro_attribute]
pub fn test(
    arguments: proc_macro::TokenStream,
    item: proc_macro::TokenStream,
) -> proc_macro::TokenStream {
    let function = parse_macro_input!(item as ItemFn);
    let expanded = if arguments.is_empty() {
        register_test(function)
    } else {
        let message = "#[runner::test] takes no arguments: marks are attributes below it";
        Err(syn::Error::new_spanned(TokenStream::from(arguments), message))
    };
    expanded.unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Marks for every test of the module it stands in, separated by commas:
/// `marks! { timeout = "10s", needs("killable") }`.
#[proc_macro]
pub fn marks(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    register_marks(input.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}

fn register_test(mut function: ItemFn) -> syn::Result<TokenStream> {
    let mut marks = Vec::new();
    let mut axes: Vec<LitStr> = Vec::new();
    let mut kept = Vec::new();
    for attribute in std::mem::take(&mut function.attrs) {
        if attribute.path().is_ident("axes") {
            let parser = Punctuated::<LitStr, Token![,]>::parse_terminated;
            axes.extend(attribute.parse_args_with(parser)?);
        } else if let Some(mark) = Mark::from_meta(&attribute.meta)? {
            marks.push(mark);
        } else {
            kept.push(attribute);
        }
    }
    function.attrs = kept;
    let body = body(&function)?;
    let name = &function.sig.ident;
    let text = name.to_string();
    let line = line_of(name.span());
    Ok(quote! {
        #[allow(clippy::needless_pass_by_value, reason = "every test is given its case by value")]
        #function
        const _: () = {
            #[::runner::private::linkme::distributed_slice(::runner::registry::TESTS)]
            #[linkme(crate = ::runner::private::linkme)]
            static REGISTERED: ::runner::registry::RegisteredTest =
                ::runner::registry::RegisteredTest {
                    module: ::core::module_path!(),
                    name: #text,
                    file: ::core::file!(),
                    line: #line,
                    axes: &[#(#axes),*],
                    marks: &[#(#marks),*],
                    body: #body,
                };
        };
    })
}

fn body(function: &ItemFn) -> syn::Result<TokenStream> {
    let signature = &function.sig;
    if let Some(generic) = signature.generics.params.first() {
        return Err(syn::Error::new_spanned(generic, "a test cannot be generic"));
    }
    let name = &signature.ident;
    let call = match signature.inputs.len() {
        0 => quote!(#name()),
        1 => quote!(#name(case)),
        _ => {
            let message = "a test takes the case, or nothing";
            return Err(syn::Error::new_spanned(&signature.inputs, message));
        }
    };
    let pattern = if signature.inputs.is_empty() { quote!(_) } else { quote!(case) };
    Ok(if signature.asyncness.is_some() {
        quote! {
            ::runner::registry::Body::Async(|#pattern: ::runner::Case| {
                ::std::boxed::Box::pin(async move { ::runner::Verdict::done(#call.await) })
            })
        }
    } else {
        quote! {
            ::runner::registry::Body::Sync(|#pattern: ::runner::Case| ::runner::Verdict::done(#call))
        }
    })
}

fn register_marks(input: TokenStream) -> syn::Result<TokenStream> {
    let metas = Punctuated::<Meta, Token![,]>::parse_terminated.parse2(input)?;
    let mut marks = Vec::new();
    for meta in &metas {
        marks.push(Mark::from_meta(meta)?.ok_or_else(|| {
            let message = format!("unknown mark: there are {}", mark::NAMES.join(", "));
            syn::Error::new_spanned(meta, message)
        })?);
    }
    Ok(quote! {
        const _: () = {
            #[::runner::private::linkme::distributed_slice(::runner::registry::MODULES)]
            #[linkme(crate = ::runner::private::linkme)]
            static REGISTERED: ::runner::registry::RegisteredMarks =
                ::runner::registry::RegisteredMarks {
                    module: ::core::module_path!(),
                    file: ::core::file!(),
                    marks: &[#(#marks),*],
                };
        };
    })
}

/// The line of a token in its own file: `line!()` would name the macro's.
fn line_of(span: proc_macro2::Span) -> u32 {
    u32::try_from(span.unwrap().line()).unwrap_or(0)
}
