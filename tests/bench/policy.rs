//! Benchmarks of the gate, on one core.
//!
//! `cargo bench -p perennial-tests --bench policy` measures verdicts a second with 12, 50 and 200 rules: Cedar with every rule and with
//! request and entities made for each question, Cedar with only the rules that can match, and the direct evaluator; the ratio is
//! that of the direct evaluator to Cedar with every rule. `load` is the time to check and compile the whole policies folder.
//! After that the time to prove the shipped promises with 50 rules, where there is a solver.
//!
//! `cargo bench -p perennial-tests --bench policy -- compare [COUNT] [SEED]` compares the answers of direct evaluator and Cedar to so many
//! random questions (default one million).

use std::time::Instant;

use perennial_core::draw::Stream;
use perennial_core::policy::gate::{Ask, Engine, Facts, Gate, Vocabulary};
use perennial_tests::gate::{LANGUAGE, ask, built_in, compare, compiled, facts, with_rules};

/// Different facts and questions that are asked in turn.
const CASES: usize = 1_000;
/// Verdicts measured of Cedar.
const CEDAR_VERDICTS: usize = 3_000;
/// Verdicts measured of the direct evaluator.
const DIRECT_VERDICTS: usize = 1_000_000;

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn clock() -> Instant {
    Instant::now()
}

/// Verdicts a second.
fn rate(cases: &[(Facts, Ask)], count: usize, verdict: impl Fn(&Facts, Ask) -> usize) -> f64 {
    let start = clock();
    let mut sum = 0;
    for (facts, ask) in cases.iter().cycle().take(count) {
        sum += verdict(facts, *ask);
    }
    std::hint::black_box(sum);
    count as f64 / start.elapsed().as_secs_f64()
}

fn routed(gate: &Gate, facts: &Facts, ask: Ask, engine: Engine) -> usize {
    gate.route(facts, ask, engine).expect("asked").rules.len()
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    if args.first().is_some_and(|a| a == "compare") {
        let number = |at: usize, or: u64| args.get(at).map_or(or, |a| a.parse().expect("a number"));
        let (count, seed) = (number(1, 1_000_000), number(2, 1));
        let mut content = built_in();
        content
            .policies
            .insert("rules/50-language.cedar".to_owned(), LANGUAGE.to_owned());
        let policies = compiled(&content);
        let start = clock();
        match compare(&policies.gate, &policies.gate, seed, count) {
            Ok(seen) => println!(
                "{count} questions, {} rules: no difference; {} allowed, {} forbidden, {} permitted by none; {:.0} s",
                policies.gate.rules().len(),
                seen.allowed,
                seen.forbidden,
                seen.unpermitted,
                start.elapsed().as_secs_f64()
            ),
            Err(difference) => {
                println!("{difference}");
                std::process::exit(1);
            }
        }
        return;
    }
    let mut draw = Stream::new(1, &["bench"]);
    let named = &Vocabulary::default();
    let cases: Vec<(Facts, Ask)> = (0..CASES)
        .map(|_| (facts(&mut draw, named), ask(&mut draw, named)))
        .collect();
    println!("verdicts a second, one core");
    println!(
        "{:>6} {:>12} {:>14} {:>12} {:>8} {:>9}",
        "rules", "Cedar", "Cedar, sliced", "direct", "ratio", "load, ms"
    );
    for count in [12, 50, 200] {
        let content = with_rules(count);
        let start = clock();
        let policies = compiled(&content);
        let load_ms = start.elapsed().as_secs_f64() * 1000.0;
        let gate = &policies.gate;
        let cedar = rate(&cases, CEDAR_VERDICTS, |f, a| routed(gate, f, a, Engine::Cedar));
        let sliced = rate(&cases, CEDAR_VERDICTS, |f, a| routed(gate, f, a, Engine::CedarSliced));
        let direct = rate(&cases, DIRECT_VERDICTS, |f, a| routed(gate, f, a, Engine::Direct));
        println!(
            "{count:>6} {cedar:>12.0} {sliced:>14.0} {direct:>12.0} {:>7.0}x {load_ms:>9.1}",
            direct / cedar
        );
    }
    prove();
}

/// Proves the shipped promises with 50 rules.
fn prove() {
    let prover = perennial_prove::Prover {
        program: perennial_prove::program(),
        threads: std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get),
        timeout_ms: perennial_prove::TIMEOUT_MS,
        now: perennial_core::time::Timestamp::EPOCH,
    };
    let mut content = with_rules(50);
    // A rule against tasks would break the promise that tasks are always possible.
    let added = content.policies.get_mut("rules/90-bench.cedar").expect("added");
    *added = added.replace("Action::\"createTask\"", "Action::\"createNote\"");
    let policies = compiled(&content);
    let start = clock();
    let report = prover.prove(&policies.gate);
    println!(
        "prove, 50 rules: {} of {} promises proved, {} questions in {:.1} s on {} threads",
        report.proved.len(),
        policies.gate.promises().len(),
        report.questions,
        start.elapsed().as_secs_f64(),
        prover.threads
    );
}
