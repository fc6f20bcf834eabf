//! Several workers at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use perennial_core::action::ActionState;
use perennial_core::signal::Crm;
use tokio::sync::Mutex;

use super::bed::{action, at, commit, run_id};
use super::effects::done;
use super::{Bed, both};
use crate::*;

both!(
    workers_never_share_an_effect_and_strand_none,
    writers_at_once_keep_the_ledger_whole
);

const ACCOUNTS: usize = 30;
const ACTIONS: usize = 4;

async fn workers_never_share_an_effect_and_strand_none(bed: Bed) {
    let commits: Vec<DecisionCommit> = (0..ACCOUNTS)
        .map(|number| {
            let actions = (0..ACTIONS)
                .map(|i| {
                    action(
                        number,
                        &format!("{i}"),
                        ActionState::Permitted,
                        &[Crm::Salesforce, Crm::HubSpot],
                    )
                })
                .collect();
            commit(number, "a", actions)
        })
        .collect();
    bed.store
        .commit_decisions(&run_id(), &commits, at(0))
        .await
        .expect("commits");
    // What each worker carried out, by lane, in the order of carrying out.
    let seen: Arc<Mutex<BTreeMap<String, Vec<String>>>> = Arc::default();
    let workers: Vec<_> = (0..6)
        .map(|worker| {
            let (store, seen) = (bed.store.clone(), Arc::clone(&seen));
            tokio::spawn(async move {
                let name = format!("w{worker}");
                let mut idle = 0;
                while idle < 20 {
                    let leases = store
                        .lease_effects(&name, Crm::ALL, 7, at(1), 60_000_000)
                        .await
                        .expect("leases");
                    idle = if leases.is_empty() { idle + 1 } else { 0 };
                    for lease in &leases {
                        let lane = format!("{}/{}", lease.effect.target.account, lease.effect.tool);
                        seen.lock()
                            .await
                            .entry(lane)
                            .or_default()
                            .push(lease.effect.id.to_string());
                    }
                    tokio::task::yield_now().await;
                    let outcomes: Vec<EffectOutcome> = leases.iter().map(done).collect();
                    let report = store.settle_effects(&outcomes).await.expect("settles");
                    assert_eq!(report.refused, []);
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await.expect("a worker");
    }
    let counts = bed.store.effect_counts(None).await.expect("reads");
    let all = (ACCOUNTS * ACTIONS * 2) as u64;
    assert_eq!((counts.done, counts.waiting), (all, 0), "none stranded");
    let seen = seen.lock().await;
    let unique: BTreeSet<&String> = seen.values().flatten().collect();
    assert_eq!(seen.values().map(Vec::len).sum::<usize>(), unique.len(), "none twice");
    for commit in &commits {
        for (step, tool) in [Crm::Salesforce, Crm::HubSpot].into_iter().enumerate() {
            let expected: Vec<String> = commit
                .actions
                .iter()
                .map(|action| action.outbox[step].effect.id.to_string())
                .collect();
            assert_eq!(seen[&format!("{}/{tool}", commit.decision.account)], expected);
        }
    }
}

async fn writers_at_once_keep_the_ledger_whole(bed: Bed) {
    let writers: Vec<_> = (0..8)
        .map(|number| {
            let store = bed.store.clone();
            tokio::spawn(async move {
                let action = action(number, "x", ActionState::Permitted, &[Crm::Salesforce]);
                let batch = [commit(number, "a", vec![action])];
                store.commit_decisions(&run_id(), &batch, at(1)).await.expect("commits");
                store.commit_decisions(&run_id(), &batch, at(1)).await.expect("commits");
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("a writer");
    }
    let entries = bed.store.ledger_page(0, 100).await.expect("reads");
    assert_eq!(entries.len(), 16);
    let mut previous = perennial_core::replay::Hash::ZERO;
    for (seq, entry) in (1..).zip(&entries) {
        assert_eq!((entry.seq, entry.previous), (seq, previous));
        assert_eq!(entry_hash(entry), entry.hash);
        previous = entry.hash;
    }
}
