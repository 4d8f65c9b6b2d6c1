//! Tables of expansions and refusals, with Python's results.

use super::*;

fn run(text: &str) -> Result<String, String> {
    let env = BTreeMap::from([("HOME".to_owned(), "/h%s".to_owned())]);
    let names = Names::new(&env, Here::Listed)
        .with_text("a", "xyz")
        .with("n", Var::Number(3))
        .with("m", Var::Number(-255));
    expand(text, &names, "program:x.command", Path::new("/etc")).map_err(|error| error.text)
}

#[test]
fn names_are_put_in_as_python_formats_them() {
    for (text, expected) in [
        ("plain", "plain"),
        ("100%%", "100%"),
        ("%(here)s/x", "/etc/x"),
        ("%(ENV_HOME)s", "/h%s"),
        ("%(n)02d", "03"),
        ("%(n)s %(n)i %(n)u %(n)ld", "3 3 3 3"),
        ("%(n)+05d|%(n)#x|%(n)#o|%(n) d", "+0003|0x3|0o3| 3"),
        ("%(m)x %(m)X %(m)#X %(m).5d", "-ff -FF -0XFF -00255"),
        ("%(m)-6d|%(m)6d|%(m)#08x|", "-255  |  -255|-0x000ff|"),
        ("%(a)5.2s|%(a)-5s|%(a)05s|", "   xy|xyz  |  xyz|"),
        ("%(a)r%(a)a", "'xyz''xyz'"),
        ("%(n)f %(n).1f %(n).0f", "3.000000 3.0 3"),
    ] {
        assert_eq!(run(text).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn bad_conversions_are_refused_in_pythons_words() {
    for (text, why) in [
        ("ab%", "incomplete format"),
        ("%(a", "incomplete format key"),
        ("%(a)", "incomplete format"),
        (
            "/bin/date +%Y",
            "unsupported format character 'Y' (0x59) at index 12",
        ),
        ("%(a)d", "%d format: a real number is required, not str"),
        ("%(a)x", "%x format: an integer is required, not str"),
        ("%(a)c", "%c requires int or char"),
        ("%(n)99999999999d", "width too big"),
        ("%(n).99999999999d", "precision too big"),
        ("%(n)*d", "not enough arguments for format string"),
        ("%s", "not enough arguments for format string"),
    ] {
        let expected = format!(
            "Format string {} for 'program:x.command' is badly formatted: {why}",
            repr(text)
        );
        assert_eq!(run(text), Err(expected));
    }
}

#[test]
fn an_unknown_name_is_refused_with_the_names_there_are() {
    assert_eq!(
        run("%(nope)s"),
        Err(
            "Format string '%(nope)s' for 'program:x.command' contains names ('nope') which \
             cannot be expanded. Available names: ENV_HOME, a, here, m, n"
                .into()
        )
    );
}
