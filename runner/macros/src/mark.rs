//! One mark: from an attribute's meta to the constant that registers it.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Expr, ExprLit, Lit, LitStr, Meta, Token};

use crate::line_of;

/// Everything that is a mark.
pub(crate) const NAMES: [&str; 6] =
    ["needs", "skip_on_backend", "xfail_on_backend", "timeout", "group", "ignore"];

pub(crate) struct Mark {
    kind: Kind,
    line: u32,
}

enum Kind {
    Needs(Vec<LitStr>),
    SkipOnBackend(Vec<LitStr>, Option<LitStr>),
    XfailOnBackend(Vec<LitStr>, Option<LitStr>, bool),
    TimeoutMs(u64),
    Group(LitStr),
    Ignore(Option<LitStr>),
}

impl Mark {
    /// The mark that a meta is; `None` if it is something else.
    pub(crate) fn from_meta(meta: &Meta) -> syn::Result<Option<Self>> {
        let Some(name) = meta.path().get_ident().map(ToString::to_string) else {
            return Ok(None);
        };
        let kind = match name.as_str() {
            "needs" => Kind::Needs(Arguments::of(meta)?.names_only(meta)?),
            "skip_on_backend" => {
                let arguments = Arguments::of(meta)?;
                arguments.refuse_strict(meta)?;
                Kind::SkipOnBackend(arguments.names, arguments.reason)
            }
            "xfail_on_backend" => {
                let Arguments { names, reason, strict } = Arguments::of(meta)?;
                Kind::XfailOnBackend(names, reason, strict)
            }
            "timeout" => Kind::TimeoutMs(milliseconds(&text(meta)?)?),
            "group" => Kind::Group(text(meta)?),
            "ignore" => match meta {
                Meta::Path(_) => Kind::Ignore(None),
                Meta::List(_) | Meta::NameValue(_) => Kind::Ignore(Some(text(meta)?)),
            },
            _ => return Ok(None),
        };
        Ok(Some(Self { kind, line: line_of(meta.span()) }))
    }
}

impl ToTokens for Mark {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        let kind = match &self.kind {
            Kind::Needs(names) => quote!(Needs(&[#(#names),*])),
            Kind::SkipOnBackend(names, reason) => {
                let reason = option(reason.as_ref());
                quote!(SkipOnBackend(&[#(#names),*], #reason))
            }
            Kind::XfailOnBackend(names, reason, strict) => {
                let reason = option(reason.as_ref());
                quote!(XfailOnBackend(&[#(#names),*], #reason, #strict))
            }
            Kind::TimeoutMs(ms) => quote!(TimeoutMs(#ms)),
            Kind::Group(name) => quote!(Group(#name)),
            Kind::Ignore(reason) => {
                let reason = option(reason.as_ref());
                quote!(Ignore(#reason))
            }
        };
        let line = self.line;
        tokens.extend(quote! {
            ::runner::registry::RegisteredMark {
                kind: ::runner::registry::RegisteredMarkKind::#kind,
                line: #line,
            }
        });
    }
}

/// `("name", …, strict, reason = "…")`.
struct Arguments {
    names: Vec<LitStr>,
    reason: Option<LitStr>,
    strict: bool,
}

impl Arguments {
    fn of(meta: &Meta) -> syn::Result<Self> {
        let list = meta.require_list()?;
        let parser = Punctuated::<Expr, Token![,]>::parse_terminated;
        let mut found = Self { names: Vec::new(), reason: None, strict: false };
        for expression in list.parse_args_with(parser)? {
            found.take(expression)?;
        }
        if found.names.is_empty() {
            return Err(syn::Error::new_spanned(meta, "names nothing: say which, as strings"));
        }
        Ok(found)
    }

    fn take(&mut self, expression: Expr) -> syn::Result<()> {
        match expression {
            Expr::Lit(ExprLit { lit: Lit::Str(name), .. }) => self.names.push(name),
            Expr::Path(path) if path.path.is_ident("strict") => self.strict = true,
            Expr::Assign(assign) if is_reason(&assign.left) => {
                self.reason = Some(literal(&assign.right)?);
            }
            other => {
                let message = "expected a name as a string, `strict` or `reason = \"…\"`";
                return Err(syn::Error::new_spanned(other, message));
            }
        }
        Ok(())
    }

    fn names_only(self, meta: &Meta) -> syn::Result<Vec<LitStr>> {
        self.refuse_strict(meta)?;
        match self.reason {
            None => Ok(self.names),
            Some(reason) => {
                let message = "takes no reason: the lack of the capability is the reason";
                Err(syn::Error::new_spanned(reason, message))
            }
        }
    }

    fn refuse_strict(&self, meta: &Meta) -> syn::Result<()> {
        if self.strict {
            return Err(syn::Error::new_spanned(meta, "only `xfail_on_backend` can be `strict`"));
        }
        Ok(())
    }
}

fn is_reason(left: &Expr) -> bool {
    matches!(left, Expr::Path(path) if path.path.is_ident("reason"))
}

/// The one string of `name("…")` or `name = "…"`.
fn text(meta: &Meta) -> syn::Result<LitStr> {
    match meta {
        Meta::List(list) => list.parse_args(),
        Meta::NameValue(pair) => literal(&pair.value),
        Meta::Path(path) => Err(syn::Error::new_spanned(path, "wants a value, as a string")),
    }
}

fn literal(expression: &Expr) -> syn::Result<LitStr> {
    match expression {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Ok(text.clone()),
        other => Err(syn::Error::new_spanned(other, "expected a string")),
    }
}

fn milliseconds(text: &LitStr) -> syn::Result<u64> {
    let duration = humantime::parse_duration(&text.value());
    let duration = duration.map_err(|error| {
        let message = format!("not a duration: {error}; write it as \"10s\" or \"1m 30s\"");
        syn::Error::new_spanned(text, message)
    })?;
    match u64::try_from(duration.as_millis()) {
        Ok(0) => Err(syn::Error::new_spanned(text, "a timeout of zero cannot be met")),
        Ok(milliseconds) => Ok(milliseconds),
        Err(_) => Err(syn::Error::new_spanned(text, "too long a duration")),
    }
}

fn option(text: Option<&LitStr>) -> TokenStream {
    match text {
        Some(text) => quote!(::core::option::Option::Some(#text)),
        None => quote!(::core::option::Option::None),
    }
}
