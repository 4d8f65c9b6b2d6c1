//! Section `[rsv]` of the installed contexts, and whether every line of that file means something. Pure.

/// The keys of section `[rsv]`.
const KEYS: [&str; 2] = ["context", CONFIRM_ABOVE];

/// The keys of a context.
const OF_CONTEXT: [&str; 4] = ["controller", "ca", "cert", "key"];

/// The number of hosts above which every action is confirmed.
pub(super) const CONFIRM_ABOVE: &str = "confirm_above";

/// The first line that means nothing, by its number, and why.
pub(super) fn wrong(text: &str) -> Option<(usize, String)> {
    let mut section = None;
    for (i, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        let fault = match line.strip_prefix('[') {
            Some(rest) => {
                let name = rest.strip_suffix(']').map(str::trim);
                section = name;
                of_section(name)
            }
            None => of_key(section, line),
        };
        if let Some(fault) = fault {
            return Some((i + 1, fault));
        }
    }
    None
}

fn of_section(name: Option<&str>) -> Option<String> {
    match name {
        None => Some("a section's name without its `]`".to_owned()),
        Some("rsv") => None,
        Some(name) if name.starts_with("context:") => None,
        Some(name) => Some(format!("section [{name}] is not known")),
    }
}

/// What the values of a context are worth is said by whoever uses it.
fn of_key(section: Option<&str>, line: &str) -> Option<String> {
    let Some((key, value)) = line.split_once('=') else {
        let is_ours = section.is_none_or(|section| section == "rsv");
        return is_ours.then(|| "not a `key = value` line".to_owned());
    };
    let (key, value) = (key.trim(), value.trim());
    match section {
        None => Some(format!("`{key}` is in no section")),
        Some("rsv") if !KEYS.contains(&key) => Some(format!("[rsv] has no key `{key}`")),
        Some("rsv") if key == CONFIRM_ABOVE && value.parse::<usize>().is_err() => Some(format!(
            "[rsv] {CONFIRM_ABOVE} = {value} is not a number of hosts"
        )),
        Some("rsv") => None,
        Some(name) if !OF_CONTEXT.contains(&key) => Some(format!("[{name}] has no key `{key}`")),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_means_nothing_is_named() {
        for (text, line, words) in [
            (
                "[rsv]\nconfirm_abov = 3\n",
                2,
                "[rsv] has no key `confirm_abov`",
            ),
            (
                "# mine\n[rsv]\nconfirm_above = x\n",
                3,
                "[rsv] confirm_above = x is not a number of hosts",
            ),
            (
                "[rsv]\nconfirm_above = -1\n",
                2,
                "[rsv] confirm_above = -1 is not a number of hosts",
            ),
            ("garbage\n", 1, "not a `key = value` line"),
            ("confirm_above = 3\n", 1, "`confirm_above` is in no section"),
            (
                "[context:a]\nkey = x\n\nconfirm_above = 3\n",
                4,
                "[context:a] has no key `confirm_above`",
            ),
            ("[rsw]\nx = 1\n", 1, "section [rsw] is not known"),
            ("[rsv\n", 1, "a section's name without its `]`"),
        ] {
            assert_eq!(wrong(text), Some((line, words.to_owned())), "{text:?}");
        }
        let good = "; mine\n\n[rsv]\ncontext = a\n confirm_above = 0\n[context:a]\nkey = x\n";
        assert_eq!(wrong(good), None);
        assert_eq!(wrong(""), None);
    }
}
