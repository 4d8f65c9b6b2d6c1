//! Any output with marks and escape sequences, cut anywhere: the same comes out as from the whole.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rsv_agent::capture::sieve::{Place, Rest, Sieve};

fuzz_target!(|input: (bool, bool, u8, &[u8])| {
    let (strips_ansi, captures, cut, output) = input;
    let sieve = Sieve {
        strips_ansi,
        captures,
    };
    let whole = sift(sieve, output, output.len().max(1), usize::MAX);
    let pieces = sift(
        sieve,
        output,
        usize::from(cut).max(1),
        usize::from(cut).max(1),
    );
    assert_eq!(whole, pieces);
});

/// What an output becomes that comes in pieces of this size into a log that takes so much at once:
/// the log, what was captured, and where each capture ends.
fn sift(sieve: Sieve, output: &[u8], size: usize, limit: usize) -> (Vec<u8>, Vec<u8>, Vec<usize>) {
    let (mut log, mut captured, mut ends) = (Vec::new(), Vec::new(), Vec::new());
    let (mut place, mut pipe) = (Place::default(), Vec::new());
    let pieces = output.chunks(size).map(|piece| (piece, Rest::MayCome));
    for (piece, rest) in pieces.chain([(&[][..], Rest::None)]) {
        pipe.extend_from_slice(piece);
        while !pipe.is_empty() {
            let sifted = sieve.sift(place, &pipe, limit, rest);
            assert!(sifted.text.len() <= limit);
            assert!(
                sifted.consumed > 0 || sifted.is_undecided,
                "nothing was done"
            );
            ends.extend(sifted.ends.iter().map(|end| captured.len() + end));
            log.extend_from_slice(&sifted.text);
            captured.extend_from_slice(&sifted.captured);
            place = sifted.place;
            pipe.drain(..sifted.consumed);
            if sifted.is_undecided {
                break;
            }
        }
    }
    assert!(pipe.is_empty(), "something is lost");
    (log, captured, ends)
}
