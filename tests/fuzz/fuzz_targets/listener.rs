//! Anything that an event listener may say, cut anywhere: it means the same as the whole, and the
//! listener is given up at most once.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rsv_agent::listeners::protocol::{Parser, Said, Stage};

const STAGES: [Stage; 6] = [
    Stage::Acknowledged,
    Stage::Ready,
    Stage::Adopted,
    Stage::Busy,
    Stage::Resuming,
    Stage::Unknown,
];

fuzz_target!(|input: (u8, u8, &[u8])| {
    let (stage, cut, bytes) = input;
    let stage = STAGES[usize::from(stage) % STAGES.len()];
    let whole = hear(stage, bytes, bytes.len());
    let pieces = hear(stage, bytes, usize::from(cut));
    assert_eq!(whole, pieces);
});

/// What is heard in pieces of this size by who never has an event to give, and where that ends.
fn hear(stage: Stage, bytes: &[u8], size: usize) -> (Vec<Said>, Stage) {
    let mut parser = Parser::at(stage);
    let mut said = Vec::new();
    for piece in bytes.chunks(size.max(1)) {
        said.extend(parser.feed(piece));
    }
    let nonsense = |one: &Said| matches!(one, Said::Nonsense(_));
    let n_breaches = said.iter().filter(|one| nonsense(one)).count();
    assert!(n_breaches <= 1, "it is given up once");
    let is_given_up = parser.stage() == Stage::Unknown;
    assert_eq!(is_given_up, n_breaches == 1 || stage == Stage::Unknown);
    (said, parser.stage())
}
