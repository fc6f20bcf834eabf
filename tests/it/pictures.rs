//! Pages as a browser shows them. With `PERENNIAL_BLESS_PICTURES` set, the pictures of the README are made anew.

use std::path::Path;
use std::process::Command;

use perennial_sandbox::System;
use perennial_tests::{Database, root, skipped};

use crate::world::World;

/// A headless browser, or nothing after saying that `test` is skipped.
fn browser(test: &str) -> Option<&'static str> {
    let found = ["chromium", "chromium-browser", "google-chrome"]
        .into_iter()
        .find(|name| {
            Command::new(name)
                .arg("--version")
                .output()
                .is_ok_and(|o| o.status.success())
        });
    if found.is_none() {
        skipped(test, "no Chromium is installed");
    }
    found
}

fn chromium(browser: &str, folder: &Path, more: &[String]) -> String {
    let profile = tempfile::tempdir_in(folder).unwrap();
    let output = Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--hide-scrollbars",
        ])
        .args([
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
        ])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(more)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Text of a terminal as a page, for a picture.
fn terminal_page(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    format!(
        "<!doctype html><meta charset=utf-8><style>body{{margin:0;background:#14181f;color:#e6e9ef;padding:28px}}\
         pre{{font:14px/1.45 'DejaVu Sans Mono',monospace;margin:0;white-space:pre-wrap}}</style><pre>{text}</pre>"
    )
}

#[test]
fn what_was_written_can_be_seen_in_a_browser() {
    let Some(browser) = browser("what_was_written_can_be_seen_in_a_browser") else {
        return;
    };
    let temp = tempfile::tempdir().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let db = Database::sqlite(temp.path());
    let world = World::new(db, temp);
    world.run().ok();
    let written = world.crms.changes();
    let change = written
        .iter()
        .find(|c| c.system == System::Salesforce && c.object == "Account" && !c.fields.is_empty());
    let change = change.expect("an account of Salesforce was updated");
    let url = format!("{}/records/Account/{}", world.crms.salesforce().url, change.record_id);
    let dom = chromium(browser, folder.path(), &["--dump-dom".to_owned(), url.clone()]);
    assert!(dom.contains("Perennial_Health__c"), "the field is shown");
    assert!(dom.contains("perennial/"), "who wrote it is shown");
    assert!(dom.contains("Sandbox"), "the page says what it is");
    let list = world.go(&["queue", "list"]).ok().json();
    let id = list[0]["id"].as_str().unwrap().to_owned();
    let page = folder.path().join("card.html");
    let card = world.text(&["queue", "show", &id]);
    let shown: Vec<&str> = card.lines().take(62).collect();
    std::fs::write(
        &page,
        terminal_page(&format!("$ perennial queue show {id}\n\n{}", shown.join("\n"))),
    )
    .unwrap();
    let pictures = if std::env::var_os("PERENNIAL_BLESS_PICTURES").is_some() {
        root().join("docs/src/pictures")
    } else {
        folder.path().to_owned()
    };
    std::fs::create_dir_all(&pictures).unwrap();
    for (name, size, from) in [
        ("sandbox.png", "1100,1250", url),
        ("card.png", "1240,1370", format!("file://{}", page.display())),
    ] {
        let file = pictures.join(name);
        let _ = std::fs::remove_file(&file);
        chromium(
            browser,
            folder.path(),
            &[
                format!("--window-size={size}"),
                format!("--screenshot={}", file.display()),
                from,
            ],
        );
        assert!(std::fs::metadata(&file).unwrap().len() > 10_000, "{name} is a picture");
    }
    world.end();
}
