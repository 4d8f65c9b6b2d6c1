//! Where words may stand, and what every page of help says.

use super::*;

fn parsed(line: &str) -> Arguments {
    let words: Vec<&str> = line.split(' ').collect();
    match Arguments::read(words) {
        Ok(arguments) => arguments,
        Err(error) => panic!("{line}: {error}"),
    }
}

#[test]
fn the_command_line_is_consistent() {
    Arguments::grammar().debug_assert();
}

#[test]
fn a_grammar_of_the_named_verbs_alone_reads_what_the_whole_one_does() {
    let read = |grammar, words: &[OsString]| match Arguments::read_by(grammar, words) {
        Ok(read) => format!("{read:?}"),
        Err(error) => error.to_string(),
    };
    let whole = Arguments::grammar();
    let verbs = whole.get_subcommands().map(Command::get_name);
    let behind = [
        "",
        " app",
        " ls",
        " -H web* app -x a",
        " -f app -o json",
        " start stop",
    ];
    let behind = &behind;
    let lines = verbs.flat_map(|verb| behind.map(|rest| format!("rsv -A {verb}{rest}")));
    let mut read_by_both = 0;
    for line in lines.chain(["rsv --version", "rsv -c FILE", "rsv"].map(String::from)) {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let slim = Arguments::grammar_of(&words);
        assert!(slim.get_subcommands().count() <= 3, "{line}");
        let is_read = match Arguments::read_by(slim.clone(), &words) {
            Ok(_) => true,
            Err(error) => error.kind() == ErrorKind::DisplayVersion,
        };
        if is_read {
            assert_eq!(read(slim, &words), read(whole.clone(), &words), "{line}");
            read_by_both += 1;
        }
    }
    assert!(read_by_both > 100, "{read_by_both}");
}

#[test]
fn no_argument_of_a_verb_takes_the_place_of_a_flag_of_every_verb() {
    fn check(command: &Command, globals: &[String]) {
        for verb in command.get_subcommands() {
            let own = verb.get_arguments().map(|arg| arg.get_id().as_str());
            let taken = own.into_iter().find(|id| globals.iter().any(|g| g == id));
            assert_eq!(taken, None, "{}", verb.get_name());
            check(verb, globals);
        }
    }
    let grammar = Arguments::grammar();
    let globals = grammar.get_arguments().filter(|arg| arg.is_global_set());
    let globals: Vec<String> = globals.map(|arg| arg.get_id().to_string()).collect();
    assert!(globals.iter().any(|id| id == "id"));
    check(&grammar, &globals);
}

#[test]
fn global_flags_may_stand_anywhere() {
    for line in [
        "rsv -A -o json host ls",
        "rsv host -A ls -o json",
        "rsv host ls -A -o json",
    ] {
        let global = parsed(line).global;
        assert!(global.all_hosts && global.output == Form::Json, "{line}");
    }
    let global = parsed("rsv -c FILE shutdown -y").global;
    assert!(global.yes && global.configuration.is_some());
    let global = parsed("rsv -H web* --deadline 5s --timeout 10s stop side").global;
    assert_eq!(global.deadline.map(|d| d.as_secs()), Some(5));
}

fn tail_words(line: &str) -> (bool, Vec<String>, Vec<String>) {
    let arguments = parsed(line);
    match arguments.verb.unwrap() {
        Verb::Tail(tail) => (tail.follow, tail.words, arguments.global.host),
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn tail_takes_supervisorctls_modifiers() {
    for (line, follow, words) in [
        ("rsv tail -f app", true, vec!["app"]),
        ("rsv tail -3 app", false, vec!["-3", "app"]),
        ("rsv tail -0 app stderr", false, vec!["-0", "app", "stderr"]),
        ("rsv tail", false, vec![]),
    ] {
        let (follows, found, _) = tail_words(line);
        assert_eq!(
            (follows, found),
            (follow, words.iter().map(ToString::to_string).collect()),
            "{line}"
        );
    }
    let (follows, words, hosts) = tail_words("rsv tail app side -f -H web01");
    assert!(follows);
    assert_eq!((words.len(), hosts.len()), (2, 1));
}

#[test]
fn the_words_of_tail_keep_their_order_with_options_among_them() {
    for (line, typed) in [
        ("rsv tail -x app", "-x app"),
        ("rsv tail -x", "-x"),
        ("rsv tail app -n 30", "app -n 30"),
        ("rsv tail app -f", "app -f"),
        ("rsv tail -f app stderr", "-f app stderr"),
        ("rsv tail --lines 30 app", "app"),
        ("rsv -c f tail -5 app -q", "-5 app"),
    ] {
        match parsed(line).verb.unwrap() {
            Verb::Tail(tail) => assert_eq!(tail.typed.join(" "), typed, "{line}"),
            other => panic!("{line}: {other:?}"),
        }
    }
    match parsed("rsv maintail -x").verb.unwrap() {
        Verb::Maintail(tail) => assert_eq!(tail.words, ["-x"]),
        other => panic!("{other:?}"),
    }
}

#[test]
fn names_are_taken_apart_at_blanks() {
    let programs = |words: &[&str]| match Arguments::read(words).unwrap().verb.unwrap() {
        Verb::Status(args) => args.programs,
        Verb::Start(args) => args.programs,
        other => panic!("{other:?}"),
    };
    assert!(programs(&["rsv", "status", ""]).is_empty());
    assert!(programs(&["rsv", "start", " "]).is_empty());
    assert_eq!(programs(&["rsv", "start", "a b", "c"]), ["a", "b", "c"]);
}

#[test]
fn supervisorctls_other_flags_are_accepted() {
    let global = parsed("rsv -u chris -p 123 -i -r history status").global;
    assert!(global.interactive && global.username.is_some());
}

#[test]
fn the_life_of_a_token_has_a_unit() {
    let read = |ttl: &str| Arguments::read(["rsv", "token", "create", "--ttl", ttl]);
    assert!(read("10m").is_ok());
    assert!(read("10").is_err());
}

#[test]
fn an_unknown_verb_is_kept_with_its_words() {
    match parsed("rsv frobnicate x").verb.unwrap() {
        Verb::Unknown(words) => assert_eq!(words, ["frobnicate", "x"]),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_verb_with_blanks_in_it_is_taken_apart() {
    let read = |words: &[&str]| Arguments::read(words.to_vec()).unwrap().verb.unwrap();
    match read(&["rsv", "-s", "a b", "signal HUP", "web", "db"]) {
        Verb::Signal(args) => assert_eq!(args.words, ["HUP", "web", "db"]),
        other => panic!("{other:?}"),
    }
    match read(&["rsv", "frob nicate", "x y"]) {
        Verb::Unknown(words) => assert_eq!(words, ["frob", "nicate", "x y"]),
        other => panic!("{other:?}"),
    }
    assert!(matches!(read(&["rsv", " "]), Verb::Unknown(words) if words == [" "]));
}

#[test]
fn labels_have_keys() {
    for line in ["rsv token create --label x", "rsv token create --label =x"] {
        assert!(Arguments::read(line.split(' ')).is_err(), "{line}");
    }
}

/// The pages of a command and of those below it.
fn pages(command: &mut Command, path: &str, found: &mut Vec<(String, String)>) {
    let text = command.render_help().to_string();
    found.push((path.to_owned(), text));
    let names: Vec<String> = command
        .get_subcommands()
        .map(|sub| sub.get_name().to_owned())
        .collect();
    for name in names {
        if let Some(sub) = command.find_subcommand_mut(&name) {
            pages(sub, &format!("{path}-{name}"), found);
        }
    }
}

#[test]
fn every_help_page_is_as_reviewed() {
    let mut root = Arguments::grammar().term_width(100);
    root.build();
    let mut found = Vec::new();
    pages(&mut root, "rsv", &mut found);
    let long = root.render_long_help().to_string();
    found.push(("rsv-long".to_owned(), long));
    assert!(found.len() > 15, "{}", found.len());
    for (path, text) in found {
        insta::assert_snapshot!(path, text);
    }
}
