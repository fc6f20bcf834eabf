//! The words a template may use: `fig` and `say` print, `known`, `positive` and `negative` open blocks.
//!
//! They choose nothing: what each figure looks like was written down before (see [`super::view`]).

use handlebars::{
    Context, Handlebars, Helper, HelperResult, JsonValue, Output, RenderContext, RenderErrorReason, Renderable,
};

/// Key of the figures in the data of a template. Not a slot, so no template can reach it.
pub(super) const FIGURES_KEY: &str = "@figures";
/// Key of the sentences.
pub(super) const STATEMENTS_KEY: &str = "@statements";

/// Adds the words to an engine.
pub(super) fn register(engine: &mut Handlebars<'static>) {
    engine.register_helper("fig", Box::new(fig));
    engine.register_helper("say", Box::new(say));
    engine.register_helper("known", Box::new(known));
    engine.register_helper("positive", Box::new(positive));
    engine.register_helper("negative", Box::new(negative));
}

fn entry<'c>(ctx: &'c Context, list: &str, h: &Helper<'_>, index: usize) -> Result<&'c JsonValue, RenderErrorReason> {
    let key = h
        .param(index)
        .and_then(|param| param.value().as_str())
        .unwrap_or_default();
    ctx.data()
        .get(list)
        .and_then(|all| all.get(key))
        .ok_or_else(|| RenderErrorReason::Other(format!("there is no figure `{key}`")))
}

fn fig<'reg, 'rc>(
    h: &Helper<'rc>,
    _: &'reg Handlebars<'reg>,
    ctx: &'rc Context,
    _: &mut RenderContext<'reg, 'rc>,
    out: &mut dyn Output,
) -> HelperResult {
    let show = h
        .hash_get("show")
        .and_then(|show| show.value().as_str())
        .unwrap_or("plain");
    let text = entry(ctx, FIGURES_KEY, h, 0)?.get(show).and_then(JsonValue::as_str);
    Ok(out.write(text.unwrap_or_default())?)
}

fn say<'reg, 'rc>(
    h: &Helper<'rc>,
    _: &'reg Handlebars<'reg>,
    ctx: &'rc Context,
    _: &mut RenderContext<'reg, 'rc>,
    out: &mut dyn Output,
) -> HelperResult {
    Ok(out.write(entry(ctx, STATEMENTS_KEY, h, 0)?.as_str().unwrap_or_default())?)
}

fn known<'reg, 'rc>(
    h: &Helper<'rc>,
    r: &'reg Handlebars<'reg>,
    ctx: &'rc Context,
    rc: &mut RenderContext<'reg, 'rc>,
    out: &mut dyn Output,
) -> HelperResult {
    let mut any = false;
    for index in 0..h.params().len() {
        any |= entry(ctx, FIGURES_KEY, h, index)?.get("known") == Some(&JsonValue::Bool(true));
    }
    either(any, h, r, ctx, rc, out)
}

fn positive<'reg, 'rc>(
    h: &Helper<'rc>,
    r: &'reg Handlebars<'reg>,
    ctx: &'rc Context,
    rc: &mut RenderContext<'reg, 'rc>,
    out: &mut dyn Output,
) -> HelperResult {
    let sign = entry(ctx, FIGURES_KEY, h, 0)?.get("sign").and_then(JsonValue::as_i64);
    either(sign == Some(1), h, r, ctx, rc, out)
}

fn negative<'reg, 'rc>(
    h: &Helper<'rc>,
    r: &'reg Handlebars<'reg>,
    ctx: &'rc Context,
    rc: &mut RenderContext<'reg, 'rc>,
    out: &mut dyn Output,
) -> HelperResult {
    let sign = entry(ctx, FIGURES_KEY, h, 0)?.get("sign").and_then(JsonValue::as_i64);
    either(sign == Some(-1), h, r, ctx, rc, out)
}

fn either<'reg, 'rc>(
    first: bool,
    h: &Helper<'rc>,
    r: &'reg Handlebars<'reg>,
    ctx: &'rc Context,
    rc: &mut RenderContext<'reg, 'rc>,
    out: &mut dyn Output,
) -> HelperResult {
    let template = if first { h.template() } else { h.inverse() };
    template.map_or(Ok(()), |template| template.render(r, ctx, rc, out))
}
