//! Sifting, however the input is cut and however little the log takes at once.

use proptest::prelude::*;

use super::*;

const BOTH: Sieve = Sieve {
    strips_ansi: true,
    captures: true,
};

/// All that a whole output becomes: the log, and each communication. One that was begun and not
/// ended comes last.
type Result = (Vec<u8>, Vec<Vec<u8>>);

/// Sifts pieces as a stream does: what is not covered is seen again together with what comes next.
fn sift(sieve: Sieve, pieces: &[&[u8]], limit: usize) -> Result {
    let (mut log, mut communications, mut current) = (Vec::new(), Vec::new(), Vec::new());
    let (mut place, mut pipe) = (Place::default(), Vec::new());
    let mut take = |pipe: &mut Vec<u8>, rest| {
        loop {
            let sifted = sieve.sift(place, pipe, limit, rest);
            assert!(sifted.text.len() <= limit);
            log.extend_from_slice(&sifted.text);
            let mut from = 0;
            for end in &sifted.ends {
                current.extend_from_slice(&sifted.captured[from..*end]);
                communications.push(std::mem::take(&mut current));
                from = *end;
            }
            current.extend_from_slice(&sifted.captured[from..]);
            place = sifted.place;
            pipe.drain(..sifted.consumed);
            if pipe.is_empty() || sifted.is_undecided {
                return;
            }
            assert!(sifted.consumed > 0, "nothing was done: {pipe:?}");
        }
    };
    for piece in pieces {
        pipe.extend_from_slice(piece);
        take(&mut pipe, Rest::MayCome);
        assert!(pipe.len() < BEGIN.len(), "too much is left: {pipe:?}");
    }
    take(&mut pipe, Rest::None);
    assert!(pipe.is_empty(), "something is lost: {pipe:?}");
    communications.push(current);
    (log, communications)
}

fn check(sieve: Sieve, input: &str, log: &str, communications: &[&str]) {
    let (got, all) = sift(sieve, &[input.as_bytes()], usize::MAX);
    assert_eq!(String::from_utf8_lossy(&got), log, "{input:?}");
    let all: Vec<_> = all.iter().map(|c| String::from_utf8_lossy(c)).collect();
    assert_eq!(all, communications, "{input:?}");
}

#[test]
fn sequences_go_and_text_stays() {
    let sieve = Sieve {
        captures: false,
        ..BOTH
    };
    let red = "\x1b[1;31mred\x1b[0m and \x1b[2Kplain";
    check(sieve, red, "red and plain", &[""]);
    check(sieve, "a \x1b(B b \x1b\x1b[m c", "a \x1b(B b \x1b c", &[""]);
    check(sieve, "last \x1b", "last \x1b", &[""]);
}

#[test]
fn text_between_the_marks_is_set_aside() {
    let sieve = Sieve {
        strips_ansi: false,
        ..BOTH
    };
    let one = "a<!--XSUPERVISOR:BEGIN-->b\nc<!--XSUPERVISOR:END-->d\n";
    check(sieve, one, "ad\n", &["b\nc", ""]);
    check(sieve, &one.repeat(2), "ad\nad\n", &["b\nc", "b\nc", ""]);
}

#[test]
fn a_mark_at_the_wrong_place_is_text() {
    let ends = "a<!--XSUPERVISOR:END-->b";
    check(BOTH, ends, ends, &[""]);
    let nested = "<!--XSUPERVISOR:BEGIN--><!--XSUPERVISOR:BEGIN-->x<!--XSUPERVISOR:END-->";
    check(BOTH, nested, "", &["<!--XSUPERVISOR:BEGIN-->x", ""]);
}

#[test]
fn what_only_looks_like_a_mark_is_given_out_at_the_end() {
    for almost in [
        "<",
        "<!--XSUPERVISOR:BEGIN--",
        "<<!--X",
        "<!--XSUPERVISOR:BEGIN-<",
    ] {
        check(BOTH, almost, almost, &[""]);
    }
    check(
        BOTH,
        "<!--XSUPERVISOR:BEGIN-->never ended <!",
        "",
        &["never ended <!"],
    );
}

#[test]
fn a_mark_ends_a_sequence_and_escapes_are_left_out_of_communications() {
    let input = "\x1b[1;<!--XSUPERVISOR:BEGIN-->\x1b[1mx<!--XSUPERVISOR:END-->y\x1b[<mz";
    check(BOTH, input, "yz", &["x", ""]);
}

fn fragments() -> impl Strategy<Value = Vec<u8>> {
    let fragment = prop_oneof![
        Just(BEGIN.to_vec()),
        Just(END.to_vec()),
        (1..BEGIN.len()).prop_map(|n| BEGIN[..n].to_vec()),
        (1..END.len()).prop_map(|n| END[..n].to_vec()),
        Just(b"\x1b[1;31m".to_vec()),
        Just(b"\x1b[".to_vec()),
        Just(b"\x1b".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..12),
        Just(b"text\n".to_vec()),
    ];
    proptest::collection::vec(fragment, 0..20).prop_map(|all| all.concat())
}

fn cut(input: &[u8], at: &[prop::sample::Index]) -> Vec<Vec<u8>> {
    let mut at: Vec<usize> = at.iter().map(|at| at.index(input.len() + 1)).collect();
    at.extend([0, input.len()]);
    at.sort_unstable();
    at.windows(2)
        .map(|at| input[at[0]..at[1]].to_vec())
        .collect()
}

proptest! {
    #[test]
    fn any_cutting_and_any_limit_give_the_same(
        input in fragments(),
        at in proptest::collection::vec(any::<prop::sample::Index>(), 0..12),
        limit in 1_usize..40,
        strips_ansi: bool,
        captures: bool,
    ) {
        let sieve = Sieve { strips_ansi, captures };
        let whole = sift(sieve, &[&input], usize::MAX);
        let pieces = cut(&input, &at);
        let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
        prop_assert_eq!(&sift(sieve, &pieces, limit), &whole);
        let bytes: Vec<&[u8]> = input.chunks(1).collect();
        prop_assert_eq!(&sift(sieve, &bytes, usize::MAX), &whole);
    }

    #[test]
    fn without_escapes_the_output_is_the_input_without_its_marks(input in fragments()) {
        let sieve = Sieve { strips_ansi: false, captures: true };
        let (log, communications) = sift(sieve, &[&input], usize::MAX);
        let (mut expected, mut set_aside, mut rest) = (Vec::new(), vec![Vec::new()], &input[..]);
        while !rest.is_empty() {
            let is_inside = set_aside.len() % 2 == 0;
            let mark = if is_inside { END } else { BEGIN };
            if rest.starts_with(mark) {
                rest = &rest[mark.len()..];
                set_aside.push(Vec::new());
                continue;
            }
            let into = if is_inside { set_aside.last_mut().unwrap() } else { &mut expected };
            into.push(rest[0]);
            rest = &rest[1..];
        }
        prop_assert_eq!(log, expected);
        let mut inside: Vec<_> = set_aside.into_iter().skip(1).step_by(2).collect();
        inside.resize(communications.len(), Vec::new());
        prop_assert_eq!(communications, inside);
    }
}
