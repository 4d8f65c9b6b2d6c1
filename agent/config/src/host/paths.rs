//! Paths: `~`, absolute forms and the globs of `[include] files`.

use std::path::{Component, Path, PathBuf};

use super::Host;

/// Expands a leading `~` or `~user`; anything that cannot be expanded stays as it is.
pub(crate) fn expand_home(host: &dyn Host, text: &str) -> PathBuf {
    let Some(rest) = text.strip_prefix('~') else {
        return PathBuf::from(text);
    };
    let (user, tail) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let home = if user.is_empty() {
        let from_env = host.environment().get("HOME").cloned();
        from_env.or_else(|| Some(host.user_by_uid(host.effective_uid())?.home))
    } else {
        host.user_by_name(user).map(|user| user.home)
    };
    match home {
        Some(home) => PathBuf::from(format!("{}{tail}", home.trim_end_matches('/'))),
        None => PathBuf::from(text),
    }
}

/// The absolute path without `.`, `..` and doubled slashes; links are not followed.
pub(crate) fn absolute(host: &dyn Host, path: &Path) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for component in host.current_dir().join(path).components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    clean
}

/// The existing paths that a glob matches, sorted. `*`, `?` and `[...]` do not match across `/`, and
/// match names that begin with a dot only when the pattern does.
pub(crate) fn matching_files(host: &dyn Host, pattern: &str) -> Vec<PathBuf> {
    let (mut found, relative) = match pattern.strip_prefix('/') {
        Some(rest) => (vec![PathBuf::from("/")], rest),
        None => (vec![PathBuf::new()], pattern),
    };
    for part in relative.split('/').filter(|part| !part.is_empty()) {
        found = found
            .iter()
            .flat_map(|directory| step(host, directory, part))
            .collect();
    }
    // What a directory lists is there; what the pattern spells out may not be.
    let is_spelled_out = !relative.rsplit('/').next().is_some_and(is_magic);
    if is_spelled_out {
        found.retain(|path| host.exists(path));
    }
    found.sort();
    found
}

fn is_magic(part: &str) -> bool {
    part.contains(['*', '?', '['])
}

fn step(host: &dyn Host, directory: &Path, part: &str) -> Vec<PathBuf> {
    if !is_magic(part) {
        return vec![directory.join(part)];
    }
    let pattern: Vec<char> = part.chars().collect();
    let listed = if directory.as_os_str().is_empty() {
        Path::new(".")
    } else {
        directory
    };
    host.names_in(listed)
        .into_iter()
        .filter(|name| part.starts_with('.') || !name.starts_with('.'))
        .filter(|name| matches(&pattern, &name.chars().collect::<Vec<_>>()))
        .map(|name| directory.join(name))
        .collect()
}

/// Shell matching of one path component, with one level of backtracking: linear in practice, never
/// exponential.
fn matches(pattern: &[char], name: &[char]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while n < name.len() {
        let step = match pattern.get(p) {
            Some('*') => {
                retry = Some((p + 1, n));
                p += 1;
                continue;
            }
            Some('?') => Some(1),
            Some('[') => class(&pattern[p..], name[n]),
            Some(c) if *c == name[n] => Some(1),
            _ => None,
        };
        match (step, retry) {
            (Some(length), _) => {
                p += length;
                n += 1;
            }
            (None, Some((after_star, from))) => {
                p = after_star;
                n = from + 1;
                retry = Some((after_star, n));
            }
            (None, None) => return false,
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// The length of the class at the start of `pattern` if it takes `c`; an unclosed `[` is itself.
fn class(pattern: &[char], c: char) -> Option<usize> {
    let is_negated = pattern.get(1) == Some(&'!');
    let start = if is_negated { 2 } else { 1 };
    // A `]` directly at the start is a member.
    let Some(end) = (start + 1..pattern.len()).find(|at| pattern[*at] == ']') else {
        return (c == '[').then_some(1);
    };
    let mut is_member = false;
    let mut at = start;
    while at < end {
        if at + 2 < end && pattern[at + 1] == '-' {
            is_member |= (pattern[at]..=pattern[at + 2]).contains(&c);
            at += 3;
        } else {
            is_member |= pattern[at] == c;
            at += 1;
        }
    }
    (is_member != is_negated).then_some(end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::FixedHost;

    #[test]
    fn classes_stars_and_question_marks_match_one_component() {
        for (pattern, name, expected) in [
            ("*.conf", "a.conf", true),
            ("*.conf", "a.conf.bak", false),
            ("a?c", "abc", true),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[]x]", "]", true),
            ("[x", "[x", true),
            ("a*b*c", "aXbYbZc", true),
            ("***", "", true),
            ("{a,b}", "a", false),
        ] {
            let pattern: Vec<char> = pattern.chars().collect();
            let name_chars: Vec<char> = name.chars().collect();
            assert_eq!(
                matches(&pattern, &name_chars),
                expected,
                "{pattern:?} {name}"
            );
        }
    }

    #[test]
    fn matches_are_sorted_and_hidden_names_need_a_dot() {
        let host = FixedHost::default()
            .file("/c/b.conf", "")
            .file("/c/a.conf", "")
            .file("/c/.h.conf", "")
            .file("/d/e/z.conf", "");
        let found = |pattern| -> Vec<String> {
            matching_files(&host, pattern)
                .iter()
                .map(|path| path.display().to_string())
                .collect()
        };
        assert_eq!(found("/c/*.conf"), ["/c/a.conf", "/c/b.conf"]);
        assert_eq!(found("/c/.*.conf"), ["/c/.h.conf"]);
        assert_eq!(found("/*/*/z.conf"), ["/d/e/z.conf"]);
        assert!(found("/c/nothing.conf").is_empty());
    }

    #[test]
    fn absolute_paths_lose_dots_and_home_is_expanded() {
        let host = FixedHost::default();
        assert_eq!(
            absolute(&host, Path::new("a/../b/./c")),
            Path::new("/srv/b/c")
        );
        assert_eq!(absolute(&host, Path::new("/../x//y")), Path::new("/x/y"));
        assert_eq!(expand_home(&host, "~/x"), Path::new("/root/x"));
        assert_eq!(expand_home(&host, "~nobody/x"), Path::new("/nonexistent/x"));
        assert_eq!(expand_home(&host, "~who/x"), Path::new("~who/x"));
    }
}
