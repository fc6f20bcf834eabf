//! People and what waits for them: several who have to say yes, lent roles, questions, who is asked next, many at once; and that an
//! approval is asked about again when something is sent.

use std::path::PathBuf;

use perennial_tests::{Said, copy_folder, root};
use serde_json::Value;

use crate::world::{DEMO_TIME, World, worlds};

pub(crate) const PEOPLE: &str =
    "[people]\nana = [\"csm\"]\nben = [\"csm\"]\nmax = [\"csm_manager\"]\nvera = [\"vp_cs\"]\npia = []\n";

/// The demo's world with people of its own and policies that a test may change.
pub(crate) struct Office {
    pub(crate) world: World,
    policies: PathBuf,
}

impl Office {
    pub(crate) fn all(test: &str) -> Vec<Office> {
        worlds(test).into_iter().map(Office::of).collect()
    }

    pub(crate) fn of(world: World) -> Office {
        let policies = world.folder().join("policies");
        copy_folder(&root().join("policies"), &policies);
        let office = Office { world, policies };
        office.people_at(PEOPLE, DEMO_TIME);
        // So that there are several of one kind.
        let row = |level| format!("createTask        = {{ low_touch = \"{level}\", mid_touch = \"{level}\"");
        office.edit("autonomy.toml", &row("auto"), &row("approve:csm"));
        office.go(&["run", "--once", "--as-of", DEMO_TIME]).ok();
        office
    }

    /// Sets who is known, and what time it is.
    pub(crate) fn people_at(&self, people: &str, time: &str) {
        self.world.configure(&format!("clock = \"{time}\"\n{people}"));
    }

    pub(crate) fn go(&self, args: &[&str]) -> Said {
        let policies = self.policies.display().to_string();
        self.world.go(&[args, &["--policies", &policies]].concat())
    }

    pub(crate) fn json(&self, args: &[&str]) -> Value {
        self.go(args).ok().json()
    }

    /// Replaces a text in a file of the policies.
    pub(crate) fn edit(&self, file: &str, from: &str, to: &str) {
        let path = self.policies.join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file} has no {from}");
        std::fs::write(path, text.replace(from, to)).unwrap();
    }

    pub(crate) fn waiting(&self, fits: impl Fn(&Value) -> bool) -> Vec<Value> {
        let list = self.json(&["queue", "list", "--state", "pending"]);
        list.as_array()
            .unwrap()
            .iter()
            .filter(|item| fits(item))
            .cloned()
            .collect()
    }

    /// The first item that a CSM may approve.
    pub(crate) fn item(&self) -> Value {
        self.waiting(|item| item["verdict"] == "approve:csm").remove(0)
    }

    pub(crate) fn together(&self, item: &Value, roles: &str) {
        let line = format!(
            "[together]\n{} = {{ {} = [{roles}] }}\n",
            item["kind"].as_str().unwrap(),
            item["tier"].as_str().unwrap()
        );
        self.edit("approvals.toml", "[together] ", &format!("{line}# "));
    }

    pub(crate) fn state(&self, id: &str) -> String {
        self.json(&["queue", "show", id, "--offline"])["state"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    pub(crate) fn end(self) {
        let verified = self.json(&["audit", "verify"]);
        assert_eq!(verified["intact"], true, "{verified}");
        self.world.end();
    }
}

pub(crate) fn id(item: &Value) -> &str {
    item["id"].as_str().unwrap()
}

#[test]
fn where_two_have_to_say_yes_nothing_is_written_before_the_second() {
    for office in Office::all("two_yeses") {
        let item = office.item();
        office.together(&item, "\"csm\", \"csm_manager\"");
        let before = office.world.created().len();
        let first = office.json(&["queue", "approve", id(&item), "--as", "ana"]);
        assert_eq!(
            (&first["state"], &first["still_needed"]),
            (&"pending".into(), &serde_json::json!(["csm_manager"]))
        );
        assert_eq!(office.world.created().len(), before);
        let again = office.go(&["queue", "approve", id(&item), "--as", "ana"]);
        assert!(
            again.code == 1 && again.err.contains("somebody else must: csm_manager"),
            "{}",
            again.err
        );
        let other = office.go(&["queue", "approve", id(&item), "--as", "ben"]);
        assert!(other.code == 1 && other.err.contains("csm_manager"), "{}", other.err);
        let card = office.json(&["queue", "show", id(&item), "--offline"]);
        assert_eq!(card["still_needed"], serde_json::json!(["csm_manager"]));
        // An edit by a third person makes everybody look again.
        office.json(&["queue", "edit", id(&item), "--set", "0.subject=Changed", "--as", "vera"]);
        let second = office.json(&["queue", "approve", id(&item), "--as", "max"]);
        assert_eq!(second["still_needed"], serde_json::json!(["csm"]), "{second}");
        let done = office.json(&["queue", "approve", id(&item), "--as", "ana"]);
        assert_eq!(done["state"], "executed", "{done}");
        assert!(office.world.created().len() > before);
        office.end();
    }
}

#[test]
fn lent_roles_are_used_in_the_name_of_their_owner_for_as_long_as_they_are_lent() {
    for office in Office::all("lent_roles") {
        let item = office
            .waiting(|i| i["verdict"] == "approve:csm" && i["tier"] != "strategic")
            .remove(0);
        let strategic = office.waiting(|i| i["verdict"] == "approve:csm" && i["tier"] == "strategic");
        let refused = office.go(&["queue", "approve", id(&item), "--as", "pia"]);
        assert!(
            refused.code == 1 && refused.err.contains("needs the role csm"),
            "{}",
            refused.err
        );
        let until = "2026-09-20T00:00:00Z";
        let lend = [
            "queue", "delegate", "--to", "pia", "--until", until, "--reason", "leave", "--as", "ana",
        ];
        // The clock of each command begins at the same moment.
        let lent = office.json(&[&lend[..], &["--from", "2026-09-15T00:00:00Z"]].concat());
        let own = office.go(&[
            "queue", "delegate", "--to", "ana", "--until", until, "--reason", "x", "--as", "ana",
        ]);
        assert_eq!(own.code, 2, "{}", own.err);
        if let Some(item) = strategic.first() {
            let refused = office.go(&["queue", "approve", id(item), "--as", "pia"]);
            assert_eq!(
                refused.code, 1,
                "lent roles do not count on strategic accounts: {}",
                refused.out
            );
        }
        let done = office.json(&["queue", "approve", id(&item), "--as", "pia"]);
        assert_eq!(
            (&done["state"], &done["in_place_of"]),
            (&"executed".into(), &"ana".into())
        );
        let next = office
            .waiting(|i| i["verdict"] == "approve:csm" && i["tier"] != "strategic")
            .remove(0);
        office.json(&["queue", "undelegate", lent["id"].as_str().unwrap(), "--as", "ana"]);
        assert_eq!(office.go(&["queue", "approve", id(&next), "--as", "pia"]).code, 1);
        // From a later moment on.
        office.json(&[&lend[..], &["--from", "2026-09-18T00:00:00Z"]].concat());
        assert_eq!(
            office.go(&["queue", "approve", id(&next), "--as", "pia"]).code,
            1,
            "not yet"
        );
        office.end();
    }
}

#[test]
fn an_approval_of_somebody_who_lost_the_role_sends_nothing_and_is_a_persons_again() {
    for office in Office::all("lost_role") {
        let item = office.item();
        let given = office.json(&["queue", "approve", id(&item), "--later", "--as", "ana"]);
        assert_eq!(given["state"], "permitted");
        let before = office.world.created().len();
        office.people_at(&PEOPLE.replace("ana = [\"csm\"]\n", "ana = []\n"), DEMO_TIME);
        // Another approval that holds lets the worker look at everything that is due.
        office.go(&["run", "--once", "--as-of", DEMO_TIME]).ok();
        assert_eq!(office.state(id(&item)), "pending");
        assert_eq!(office.world.created().len(), before, "nothing was sent");
        let card = office.json(&["queue", "show", id(&item), "--offline"]);
        let why = card["effects"][0]["error"].as_str().unwrap();
        assert!(why.contains("the approval of ana does not hold any more"), "{why}");
        let done = office.json(&["queue", "approve", id(&item), "--as", "ben"]);
        assert_eq!(done["state"], "executed", "{done}");
        office.end();
    }
}

#[test]
fn an_approval_is_asked_about_again_also_where_a_worker_died_before_it_sent_anything() {
    for office in Office::all("lost_role_lease") {
        let item = office.item();
        office.json(&["queue", "approve", id(&item), "--later", "--as", "ana"]);
        let before = office.world.created().len();
        // A worker takes everything that is due, and is never seen again.
        let leased = crate::crms::wait(async {
            let url = office.world.database().parse().unwrap();
            let options = perennial_store::Options::default();
            let store = perennial_store::Store::open(&url, perennial_core::ids::TenantId::DEFAULT, &options).await;
            let store = store.unwrap();
            let crms = perennial_core::signal::Crm::ALL;
            // A minute later, when everything is due; and the lease is over when the run begins.
            let now: perennial_core::time::Timestamp = DEMO_TIME.parse().unwrap();
            let now = perennial_core::time::Timestamp::from_us(now.us() + 60_000_000);
            let leased = store
                .lease_effects("dead", crms, 1_000, now, -120_000_000)
                .await
                .unwrap();
            store.close().await;
            leased
        });
        assert!(leased.iter().any(|leased| leased.effect.action.as_str() == id(&item)));
        office.people_at(&PEOPLE.replace("ana = [\"csm\"]\n", "ana = []\n"), DEMO_TIME);
        office.go(&["run", "--once", "--as-of", DEMO_TIME]).ok();
        assert_eq!(office.state(id(&item)), "pending");
        assert_eq!(office.world.created().len(), before, "nothing was sent");
        office.end();
    }
}

#[test]
fn an_approval_under_older_policies_holds_only_while_the_answer_is_the_same() {
    for office in Office::all("older_policies") {
        let item = office.item();
        office.json(&["queue", "approve", id(&item), "--later", "--as", "ana"]);
        let before = office.world.created().len();
        // The hash changes, the answer does not.
        office.edit("autonomy.toml", "# Who decides what.", "# Who decides what!");
        let same = office.waiting(|i| i["verdict"] == "approve:csm").remove(0);
        office.json(&["queue", "approve", id(&same), "--as", "ben"]);
        assert_eq!(office.state(id(&item)), "executed");
        assert!(office.world.created().len() > before);
        // The answer changes: two have to say yes now.
        let next = office.item();
        office.json(&["queue", "approve", id(&next), "--later", "--as", "ana"]);
        office.together(&next, "\"csm\", \"csm_manager\"");
        let sent = office.world.created().len();
        office.go(&["run", "--once", "--as-of", DEMO_TIME]).ok();
        assert_eq!(office.state(id(&next)), "pending");
        assert_eq!(office.world.created().len(), sent);
        office.end();
    }
}

#[test]
fn what_nobody_answers_is_asked_of_the_next_role_and_never_runs_by_itself() {
    for office in Office::all("asked_next") {
        let item = office
            .waiting(|i| i["verdict"] == "approve:csm" && i["tier"] == "mid_touch")
            .remove(0);
        let asked = |time: &str| {
            office.people_at(PEOPLE, time);
            let same = office.waiting(|i| i["id"] == item["id"]);
            same.first().map_or(Value::Null, |i| i["asked_role"].clone())
        };
        let created = office.world.created().len();
        assert_eq!(asked("2026-09-16T07:00:00Z"), Value::Null);
        assert_eq!(asked("2026-09-16T09:00:00Z"), "csm_manager");
        assert_eq!(asked("2026-09-16T10:00:00Z"), "csm_manager", "a day for each");
        assert_eq!(asked("2026-09-17T10:00:00Z"), "vp_cs");
        assert_eq!(asked("2026-09-18T10:00:00Z"), "vp_cs", "nobody is above");
        assert_eq!(office.world.created().len(), created);
        // The least role still suffices.
        let done = office.json(&["queue", "approve", id(&item), "--as", "ben"]);
        assert_eq!(done["state"], "executed", "{done}");
        office.end();
    }
}

#[test]
fn where_only_the_last_editor_could_approve_the_next_role_is_asked_at_once() {
    for office in Office::all("only_editor") {
        // Records bring people of their own; the manager is the only one of a role that nobody else has or includes.
        office.edit("autonomy.toml", "[matrix]", "[roles]\nreviewer = []\n\n[matrix]");
        let item = office.item();
        office.together(&item, "\"reviewer\"");
        office.people_at(&format!("{PEOPLE}rita = [\"reviewer\"]\n"), DEMO_TIME);
        let edited = office.json(&["queue", "edit", id(&item), "--set", "0.subject=Changed", "--as", "rita"]);
        assert_eq!(edited["asked_role"], "csm_manager", "{edited}");
        office.end();
    }
}

#[test]
fn questions_answers_and_new_owners_are_kept_with_the_action() {
    for office in Office::all("questions") {
        let item = office.item();
        let asked = office.json(&[
            "queue",
            "ask",
            id(&item),
            "which price list?",
            "--of",
            "max",
            "--as",
            "ana",
        ]);
        assert_eq!(asked["state"], "deferred");
        assert_eq!(office.go(&["queue", "approve", id(&item), "--as", "ana"]).code, 1);
        assert_eq!(
            office.json(&["queue", "answer", id(&item), "the old one", "--as", "max"])["state"],
            "pending"
        );
        let to = office.json(&[
            "queue",
            "reassign",
            id(&item),
            "--to",
            "ben",
            "--reason",
            "on leave",
            "--as",
            "ana",
        ]);
        assert_eq!(to["owner"], "ben");
        let role = office.json(&[
            "queue",
            "reassign",
            id(&item),
            "--role",
            "vp_cs",
            "--reason",
            "large",
            "--as",
            "ben",
        ]);
        assert_eq!(role["asked_role"], "vp_cs");
        let junior = office.go(&[
            "queue",
            "reassign",
            id(&item),
            "--role",
            "nobody",
            "--reason",
            "x",
            "--as",
            "ben",
        ]);
        assert!(
            junior.code == 2 && junior.err.contains("may not approve this"),
            "{}",
            junior.err
        );
        // Facts follow, the owner that a person chose stays.
        office.go(&["run", "--once", "--as-of", "2026-09-16T08:00:00Z"]).ok();
        let card = office.json(&["queue", "show", id(&item), "--offline"]);
        assert_eq!(card["owner"], "ben");
        let verbs: Vec<&str> = card["approvals"]
            .as_array()
            .unwrap()
            .iter()
            .map(|a| a["verb"].as_str().unwrap())
            .collect();
        assert_eq!(verbs, ["ask", "answer", "reassign", "reassign"]);
        office.end();
    }
}

#[test]
fn several_are_approved_together_only_where_one_look_is_enough() {
    for office in Office::all("together") {
        let all = office.waiting(|i| i["verdict"].as_str().unwrap().starts_with("approve"));
        let alike = |a: &Value, b: &Value| ["playbook", "verdict"].iter().all(|key| a[*key] == b[*key]);
        let small = |i: &Value| {
            i["tier"] != "strategic" && !["sendRenewal", "offerDiscount"].contains(&i["kind"].as_str().unwrap())
        };
        let pair = all.iter().filter(|i| small(i)).find_map(|a| {
            all.iter()
                .find(|b| small(b) && a["id"] != b["id"] && alike(a, b))
                .map(|b| [a, b])
        });
        let [a, b] = pair.expect("the demo has two of a kind");
        let other = all.iter().find(|i| !alike(a, i)).expect("and one of another");
        let mixed = office.go(&["queue", "approve", id(a), id(other), "--count", "2", "--as", "vera"]);
        assert!(
            mixed.code == 2 && mixed.err.contains("cannot be approved together"),
            "{}",
            mixed.err
        );
        let uncounted = office.go(&["queue", "approve", id(a), id(b), "--as", "vera"]);
        assert!(
            uncounted.code == 2 && uncounted.err.contains("--count 2"),
            "{}",
            uncounted.err
        );
        assert_eq!(office.state(id(a)), "pending", "nothing was done yet");
        // One of them has been changed by whoever approves: the other goes through, this one says why not.
        office.json(&["queue", "edit", id(b), "--set", "0.subject=Changed", "--as", "vera"]);
        let done = office.go(&["queue", "approve", id(a), id(b), "--count", "2", "--as", "vera"]);
        assert_eq!(done.code, 1);
        let rows = done.json();
        let of = |item: &Value| {
            rows.as_array()
                .unwrap()
                .iter()
                .find(|r| r["id"] == item["id"])
                .unwrap()
                .clone()
        };
        assert_eq!(of(a)["state"], "executed", "{rows}");
        assert_eq!(of(b)["state"], "edited", "{rows}");
        assert!(of(b)["error"].as_str().unwrap().contains("another person"), "{rows}");
        office.end();
    }
}
