//! What the actors of this example can do. Both programs link it: the host, which calls, and the worker, in which it runs.

/// Counts the words of a text.
#[runtime::remote]
pub async fn count_words(text: String) -> usize {
    text.split_whitespace().count()
}

/// The name of the program an actor runs in.
#[runtime::remote]
pub async fn program() -> String {
    let path = std::env::current_exe().unwrap_or_default();
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
