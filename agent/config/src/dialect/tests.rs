//! Cases of the dialect that one can read; the differential test covers the rest.

use super::*;

fn values(text: &str) -> Vec<(String, String, String, usize)> {
    let document = parse(text).unwrap();
    document
        .sections
        .into_iter()
        .flat_map(|section| {
            let name = section.name;
            section
                .entries
                .into_iter()
                .map(move |entry| (name.clone(), entry.key, entry.value, entry.line))
        })
        .collect()
}

fn check(text: &str, expected: &[(&str, &str, &str, usize)]) {
    let got = values(text);
    let got: Vec<_> = got
        .iter()
        .map(|(s, k, v, l)| (s.as_str(), k.as_str(), v.as_str(), *l))
        .collect();
    assert_eq!(got, expected);
}

#[test]
fn a_tab_before_a_comment_counts_as_a_blank() {
    check(
        "[program:a] ; name\ncommand=/bin/x\t\t; why\ndirectory = /root # here\n",
        &[
            ("program:a", "command", "/bin/x", 2),
            ("program:a", "directory", "/root", 3),
        ],
    );
}

#[test]
fn comment_characters_inside_a_word_are_text() {
    check("[a]\nk: a#b c;d\n", &[("a", "k", "a#b c;d", 2)]);
}

#[test]
fn the_last_of_two_equal_keys_counts_and_sections_merge() {
    check(
        "[a]\nk=1\nl=2\n[b]\nm=1\n[a]\nK=3\n",
        &[("a", "k", "3", 7), ("a", "l", "2", 3), ("b", "m", "1", 5)],
    );
}

#[test]
fn deeper_lines_continue_a_value_and_comments_inside_are_dropped() {
    check(
        "[a]\nk=1\n  2\n; no\n\n  3 ; yes\nl=4\n",
        &[("a", "k", "1\n2\n\n3", 2), ("a", "l", "4", 7)],
    );
}

#[test]
fn the_nth_semicolon_and_the_nth_hash_are_looked_at_together() {
    check("[a]\nk=x;y ;c #d\n", &[("a", "k", "x;y ;c", 2)]);
}

#[test]
fn section_names_keep_their_blanks_and_inner_brackets() {
    check("[ a[0] ]\nk=1\n", &[(" a[0] ", "k", "1", 2)]);
}

#[test]
fn backslashes_quotes_and_escapes_pass_unchanged() {
    check(
        "[a]\nk=\"C:\\x41\\n\" 'q' \\\nl=%(x)s\u{1F600}\u{e9}\n",
        &[
            ("a", "k", "\"C:\\x41\\n\" 'q' \\", 2),
            ("a", "l", "%(x)s\u{1F600}\u{e9}", 3),
        ],
    );
}

#[test]
fn a_byte_order_mark_is_skipped() {
    check("\u{feff}[a]\r\nk=1\r\n", &[("a", "k", "1", 2)]);
}

#[test]
fn bad_lines_are_all_reported_with_their_numbers() {
    let error = parse("[a]\nfoo\nk=1\n=2\n").unwrap_err();
    let DialectError::BadLines(lines) = error else {
        panic!("another error: {error}");
    };
    let numbers: Vec<_> = lines.iter().map(|line| line.line).collect();
    assert_eq!(numbers, [2, 4]);
}

#[test]
fn text_before_the_first_header_is_refused() {
    assert!(matches!(
        parse("; c\nk=1\n"),
        Err(DialectError::NoSectionHeader(LineError { line: 2, .. }))
    ));
}

#[test]
fn bytes_that_are_not_text_are_refused_with_their_line() {
    assert_eq!(
        parse_bytes(b"[a]\nk=\xff\n"),
        Err(DialectError::NotUtf8 {
            line: 2,
            byte: 0xff
        })
    );
}
