//! What other programs wrote, made safe to print: no control character of theirs reaches the
//! terminal, no line of theirs is without end.

/// Longer lines are cut, in characters.
const LINE_LIMIT: usize = 400;

/// One line of bytes as text.
pub fn line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut shown: String = text.chars().take(LINE_LIMIT).map(safe).collect();
    if text.chars().nth(LINE_LIMIT).is_some() {
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
        assert_eq!(super::line("ä".repeat(500).as_bytes()).chars().count(), 401);
    }
}
