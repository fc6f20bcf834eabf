//! Thirty mistakes that admins make, in files of every kind: `perennial policy check` names 28 of them with file, line, column and
//! remedy; the tests find one more, and the promises the last.

use super::Folder;

/// Who finds a mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Check,
    Test,
    Prove,
}

/// A file below `policies` (or `prompts`), what stands in it, what was written instead, the text that begins where the mistake is,
/// and words of the message or its remedy.
struct Mistake(By, &'static str, &'static str, &'static str, &'static str, &'static str);

const RULE: &str =
    "@id(\"x\") @why(\"w\")\nforbid (principal, action in Action::\"CustomerFacing\", resource is Account)\nwhen { ";

const MISTAKES: &[Mistake] = &[
    Mistake(
        By::Check,
        "policies/autonomy.toml",
        "\ncreateTask ",
        "\ncreatTask ",
        "creatTask",
        "did you mean `createTask`?",
    ),
    Mistake(
        By::Check,
        "policies/autonomy.toml",
        "{ low_touch",
        "{ lowtouch",
        "lowtouch",
        "did you mean `low_touch`?",
    ),
    Mistake(
        By::Check,
        "policies/autonomy.toml",
        "\"approve:deal_desk\"",
        "\"approve:deel_desk\"",
        "\"approve:deel_desk\"",
        "did you mean `deal_desk`?",
    ),
    Mistake(
        By::Check,
        "policies/autonomy.toml",
        ", strategic = \"auto\" }",
        " }",
        "{ low_touch = \"auto\", mid_touch = \"auto\" }",
        "add strategic = \"never\"",
    ),
    Mistake(
        By::Check,
        "policies/autonomy.toml",
        "createNote        =",
        "#createNote        =",
        "#",
        "add it under [matrix]",
    ),
    Mistake(
        By::Check,
        "policies/autonomy.toml",
        "= 80 ",
        "= 180 ",
        "180",
        "from 0 to 100",
    ),
    Mistake(
        By::Check,
        "policies/autonomy.toml",
        "\"25k EUR\"",
        "\"25k EURO\"",
        "\"25k EURO\"",
        "25k EUR",
    ),
    Mistake(
        By::Check,
        "policies/autonomy.toml",
        "\"posture\", ",
        "\"postur\", ",
        "\"postur\"",
        "did you mean `posture`?",
    ),
    Mistake(
        By::Check,
        "policies/autonomy.toml",
        "\nmax_arr ",
        "\nmax_ar ",
        "max_ar ",
        "did you mean `max_arr`?",
    ),
    Mistake(
        By::Check,
        "policies/autonomy.toml",
        "\n[auto]",
        "\n[auto",
        "",
        "see the shipped file",
    ),
    Mistake(
        By::Check,
        "policies/scoring.toml",
        "\nusage_days =",
        "\nusage_dys =",
        "usage_dys",
        "did you mean `usage_days`?",
    ),
    Mistake(
        By::Check,
        "policies/scoring.toml",
        "fact = \"days_late\"",
        "fact = \"day_late\"",
        "\"day_late\"",
        "did you mean `days_late`?",
    ),
    Mistake(
        By::Check,
        "policies/playbooks/usage-drop.toml",
        "\nowner ",
        "\nonwer ",
        "onwer",
        "did you mean `owner`?",
    ),
    Mistake(
        By::Check,
        "policies/playbooks/usage-drop.toml",
        "resource.active_users_change <=",
        "resource.active_users_chnge <=",
        "resource.active_users_chnge",
        "did you mean `active_users_change`?",
    ),
    Mistake(
        By::Check,
        "policies/playbooks/usage-drop.toml",
        "Ask {contact} of",
        "Ask {contcat} of",
        "contcat",
        "did you mean `contact`?",
    ),
    Mistake(
        By::Check,
        "policies/playbooks/usage-drop.toml",
        "action  = \"createTask\"",
        "action  = \"createTsk\"",
        "\"createTsk\"",
        "did you mean `createTask`?",
    ),
    Mistake(
        By::Check,
        "policies/playbooks/usage-drop.toml",
        "\"features_lost\"",
        "\"featurs_lost\"",
        "\"featurs_lost\"",
        "did you mean `features_lost`?",
    ),
    Mistake(
        By::Check,
        "policies/rules/90-x.cedar",
        "",
        "resource has tier && resource.tier == Tier::\"strategc\" };\n",
        "",
        "strategic",
    ),
    Mistake(
        By::Check,
        "policies/rules/90-x.cedar",
        "",
        "resource.health < 50 };\n",
        "resource.health",
        "unless { resource has FACT",
    ),
    Mistake(
        By::Check,
        "policies/rules/90-x.cedar",
        "",
        "context has confidence && context.confidence < 0.8 };\n",
        "",
        "use per mille: 0.8 is 800",
    ),
    Mistake(
        By::Check,
        "policies/rules/90-x.cedar",
        "",
        "context.contacts_last_7d + 1 > 3 };\n",
        "@id(\"x\")",
        "compare facts",
    ),
    Mistake(
        By::Check,
        "policies/rules/90-never.cedar",
        "forbid (principal, action in Action::\"CustomerFacing\"",
        "permit (principal, action in Action::\"CustomerFacing\"",
        "@id(\"do-not-contact\")",
        "write `forbid`",
    ),
    Mistake(
        By::Check,
        "policies/promises/do-not-contact.cedar",
        "has do_not_contact",
        "has do_not_contct",
        "do_not_contct",
        "did you mean `do_not_contact`?",
    ),
    Mistake(
        By::Check,
        "policies/promises/four-eyes.cedar",
        "@never",
        "@nevr",
        "@nevr",
        "did you mean `never`?",
    ),
    Mistake(
        By::Check,
        "policies/tests/guards.toml",
        "{ tier = \"strategic\", do",
        "{ teir = \"strategic\", do",
        "teir",
        "did you mean `tier`?",
    ),
    Mistake(
        By::Check,
        "policies/tests/table.toml",
        "expect  = \"approve:csm\"",
        "expect  = \"approve:manager\"",
        "\"approve:manager\"",
        "roles are csm",
    ),
    Mistake(
        By::Check,
        "policies/tests/approvals.toml",
        "\"stale-approval\"",
        "\"stale-aproval\"",
        "\"stale-aproval\"",
        "did you mean `stale-approval`?",
    ),
    Mistake(
        By::Check,
        "prompts/qbr.hbs",
        "{{account_name}}, {{period.name}}",
        "{{acount_name}}, {{period.name}}",
        "",
        "did you mean `account_name`?",
    ),
    Mistake(
        By::Test,
        "policies/autonomy.toml",
        "strategic = \"approve:vp_cs\" }\nofferDiscount",
        "strategic = \"approve:csm_manager\" }\nofferDiscount",
        "",
        "sendRenewal:strategic (autonomy.toml:13)",
    ),
    Mistake(
        By::Prove,
        "policies/rules/50-exceptions.cedar",
        "// @id(\"quiet-quarter-end\")",
        "@id(\"fast-qbr\") @why(\"Reviews are late.\") @owner(\"o\") @until(\"2027-12-31\")\npermit (principal, action == Action::\"sendQbr\", resource is Account)\nwhen { context has confidence && context.confidence >= 990 };\n//",
        "",
        "by fast-qbr (rules/50-exceptions.cedar:4)",
    ),
];

/// Line and column, from 1, where a text begins.
fn place(text: &str, token: &str) -> (usize, usize) {
    let at = text.find(token).unwrap();
    let before = &text[..at];
    let start = before.rfind('\n').map_or(0, |end| end + 1);
    (before.matches('\n').count() + 1, before[start..].chars().count() + 1)
}

/// What is wrong with a folder, by those who find it.
fn found(folder: &Folder, by: By, solver: Option<&str>) -> Option<String> {
    match (by, solver) {
        (By::Check, _) => {
            let said = folder.run(&["--json", "policy", "check"]);
            (said.code == 2).then(|| said.json()["problems"].to_string())
        }
        (By::Test, _) => {
            let said = folder.run(&["policy", "test"]);
            (said.code == 1).then_some(said.out)
        }
        (By::Prove, Some(solver)) => {
            let said = folder.run(&["policy", "prove", "--solver", solver, "strategic-needs-approval"]);
            (said.code == 1).then_some(said.out)
        }
        (By::Prove, None) => None,
    }
}

#[test]
fn thirty_mistakes_of_admins_are_found_28_of_them_by_check_with_place_and_remedy() {
    let prover = crate::prove::prover("the last of thirty_mistakes_of_admins");
    let solver = prover.as_ref().and_then(|p| p.program.to_str());
    let mut wrong = Vec::new();
    for Mistake(by, file, old, new, token, says) in MISTAKES {
        let folder = Folder::shipped();
        if old.is_empty() {
            folder.write(file, &format!("{RULE}{new}"));
        } else {
            folder.replace(file, old, new);
        }
        // Nobody else finds it before.
        let earlier: &[By] = match by {
            By::Check => &[],
            By::Test => &[By::Check],
            By::Prove => &[By::Check, By::Test],
        };
        for early in earlier {
            assert_eq!(found(&folder, *early, solver), None, "{file}: {new}");
        }
        if *by == By::Prove && solver.is_none() {
            continue;
        }
        let Some(text) = found(&folder, *by, solver) else {
            wrong.push(format!("{file}: `{new}` is not found by {by:?}"));
            continue;
        };
        let plain = text.replace("\\\"", "\"");
        if !plain.contains(says) {
            wrong.push(format!("{file}: `{new}`: `{says}` is not in {plain}"));
        }
        if *by == By::Check {
            let problems: serde_json::Value = serde_json::from_str(&text).unwrap();
            let name = file.strip_prefix("policies/").unwrap_or(file);
            let (line, column) = place(&folder.read(file), token);
            let here = problems.as_array().unwrap().iter().any(|p| {
                p["file"] == name
                    && p["line"].as_u64().unwrap() > 0
                    && (token.is_empty() || (p["line"] == line && p["column"] == column))
            });
            if !here {
                wrong.push(format!("{file}: `{new}`: not at {line}:{column}: {problems}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let by_check = MISTAKES.iter().filter(|m| m.0 == By::Check).count();
    assert_eq!((MISTAKES.len(), by_check), (30, 28));
}
