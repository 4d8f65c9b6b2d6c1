//! A line that is being typed, taken apart as a shell does. Pure.

/// The words before the one that is being typed, and that one, perhaps empty.
pub(super) fn apart(line: &str) -> (Vec<String>, String) {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (None, ' ' | '\t' | '\n') => words.extend(word.take()),
            (None, '\'' | '"') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (Some(open), letter) if letter == open => quote = None,
            (None | Some('"'), '\\') => word.get_or_insert_default().extend(letters.next()),
            (_, letter) => word.get_or_insert_default().push(letter),
        }
    }
    (words, word.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_is_the_one_that_is_typed() {
        for (line, before, word) in [
            ("", &[][..], ""),
            ("rsv", &[], "rsv"),
            ("rsv ", &["rsv"], ""),
            ("rsv  -H 'web*' st", &["rsv", "-H", "web*"], "st"),
            ("rsv -H 'web01,w", &["rsv", "-H"], "web01,w"),
            (r#"rsv "a b" \'x y\ z"#, &["rsv", "a b", "'x"], "y z"),
            ("rsv ''", &["rsv"], ""),
            ("rsv '' ", &["rsv", ""], ""),
            ("rsv \\", &["rsv"], ""),
        ] {
            let (found, last) = apart(line);
            assert_eq!(
                (found, last.as_str()),
                (before.iter().map(ToString::to_string).collect(), word),
                "{line:?}"
            );
        }
    }
}
