//! The signatures of webhooks against the vendor's examples.

use perennial_sandbox::signature;
use serde_json::Value;

#[test]
fn every_example_signature_of_the_vendor_is_what_the_sandbox_signs() {
    let Some(folder) = super::folder("signatures of webhooks") else {
        return;
    };
    let text = std::fs::read_to_string(folder.join("hs-signature-vectors/vectors.json")).unwrap();
    let vectors: Vec<Value> = serde_json::from_str(&text).unwrap();
    let mut good = 0;
    for one in &vectors {
        let said = |name: &str| one[name].as_str().unwrap_or("");
        let (secret, body) = (said("clientSecret"), said("body").as_bytes());
        let signed = match said("version") {
            "v3" => signature::v3(secret, said("method"), said("uri"), body, said("timestamp")),
            "v2" => signature::v2(secret, said("method"), said("uri"), body),
            _ => signature::v1(secret, body),
        };
        assert_eq!(signed, said("signature"), "{one}");
        good += 1;
    }
    println!("webhook signatures: {good} of {}", vectors.len());
    assert_eq!((good, vectors.len()), (6, 6));
}
