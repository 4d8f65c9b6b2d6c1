//! The fleet as pure machines, under a scheduler that follows from a seed.
//!
//! `RSV_SEEDS` runs so many seeds instead of 200; `RSV_SEED` runs one, and `RSV_TRACE` tells each of its
//! steps.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};

use rsv_tests::simulation::{Flaw, simulate, simulate_with};

/// Seeds of a usual run.
const SEEDS: u64 = 200;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text}: not a number")),
    )
}

#[test]
fn a_fleet_keeps_its_laws_whatever_breaks() {
    let (first, last) = match number("RSV_SEED") {
        Some(seed) => (seed, seed + 1),
        None => (0, number("RSV_SEEDS").unwrap_or(SEEDS)),
    };
    let began = Instant::now();
    let next = AtomicU64::new(first);
    let failures = Mutex::new(Vec::new());
    let workers = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= last {
                        return;
                    }
                    match simulate(seed) {
                        Ok(figures) if last - first == 1 => println!("seed {seed}: {figures}"),
                        Ok(_) => {}
                        Err(why) => failures.lock().unwrap().push((seed, why)),
                    }
                }
            });
        }
    });
    println!("{} seeds in {:?}", last - first, began.elapsed());
    let mut failures = failures.into_inner().unwrap();
    failures.sort();
    for (seed, why) in &failures {
        println!("seed {seed}: {why}");
        println!("    RSV_SEED={seed} cargo test -p rsv-tests --test simulation -- --nocapture");
    }
    assert!(failures.is_empty(), "{} seeds fail", failures.len());
}

/// Seeds within which a mistake has to be found.
const TRIES: u64 = 100;

#[test]
fn each_mistake_of_a_host_breaks_the_law_that_is_there_for_it() {
    for (flaw, law) in [
        (Flaw::EarlyStop, "answers for stop"),
        (Flaw::DoubleRestart, "down and nobody wanted it"),
        (Flaw::DoubleSignal, "a second time"),
        (Flaw::BroadSignal, "which does not mean it"),
        (Flaw::EarlyShutdown, "answers for the end by"),
        (Flaw::DoubleReload, "ends for"),
        (Flaw::Forgetfulness, "begins command"),
        (Flaw::HastyWord, "says that it keeps to"),
        (Flaw::NeedlessRestart, "down and nobody wanted it"),
        (Flaw::IdleUpdate, "answers for update"),
    ] {
        let broken = |seed| simulate_with(seed, Some(flaw)).err();
        let mut others = Vec::new();
        let found = (0..TRIES).find(|seed| match broken(*seed) {
            Some(why) if why.contains(law) => true,
            why => {
                others.extend(why);
                false
            }
        });
        println!("{flaw:?}: found by its law with seed {found:?}");
        assert!(
            found.is_some(),
            "{flaw:?} is not found by its law: {others:#?}"
        );
    }
}
