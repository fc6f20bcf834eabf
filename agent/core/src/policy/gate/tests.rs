//! What the gate promises, one by one.

use super::*;

#[test]
fn the_schema_loads_and_every_kind_of_action_is_in_it() {
    let (schema, warnings) = Schema::from_cedarschema_str(&schema_text()).unwrap_or_else(|e| panic!("{e:?}"));
    assert_eq!(warnings.count(), 0);
    let actions: Vec<String> = schema.actions().map(|a| a.id().unescaped().to_owned()).collect();
    for kind in ActionKind::ALL {
        assert!(actions.iter().any(|a| a == kind.as_str()), "{kind}");
    }
}
