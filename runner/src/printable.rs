//! What other programs wrote, made safe to print: no control character of theirs reaches the
//! terminal, no line of theirs is without end.

/// Longer lines are cut, in characters.
const LINE_LIMIT: usize = 240;

/// One line of bytes as text.
pub fn line(bytes: &[u8]) -> String {
    beginning(&String::from_utf8_lossy(bytes), LINE_LIMIT)
}

/// At most so many characters of a text.
pub fn beginning(text: &str, limit: usize) -> String {
    let mut shown: String = text.chars().take(limit).map(safe).collect();
    if text.chars().nth(limit).is_some() {
        shown.push('…');
    }
    shown
}

fn safe(character: char) -> char {
    if character.is_control() && character != '\t' { '\u{fffd}' } else { character }
}

#[cfg(test)]
mod tests {
    #[test]
    fn nothing_speaks_to_the_terminal() {
        assert_eq!(super::line(b"a\x1b[31mb\tc\xff"), "a\u{fffd}[31mb\tc\u{fffd}");
        assert_eq!(super::line("ä".repeat(500).as_bytes()).chars().count(), 241);
    }
}
