//! A small line plot, as SVG.

use std::fmt::Write as _;

/// A line of a plot.
pub struct Line {
    pub name: &'static str,
    pub colour: &'static str,
    /// Broken, for what is there to compare with.
    pub dashed: bool,
    /// From left to right; both values above 0.
    pub points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 190.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 46.0;

/// Draws the lines over two logarithmic axes.
pub fn svg(title: &str, x_axis: &str, y_axis: &str, lines: &[Line]) -> String {
    let all = || lines.iter().flat_map(|line| &line.points);
    let (x_ticks, y_ticks) = (ticks(all().map(|(x, _)| *x), &[1.0]), ticks(all().map(|(_, y)| *y), &[1.0, 2.0, 5.0]));
    let scale = |value: f64, ticks: &[f64], from: f64, to: f64| {
        let (low, high) = (ticks[0].ln(), ticks[ticks.len() - 1].ln());
        from + (value.ln() - low) / (high - low).max(f64::MIN_POSITIVE) * (to - from)
    };
    let x = |value| scale(value, &x_ticks, LEFT, WIDTH - RIGHT);
    let y = |value| scale(value, &y_ticks, HEIGHT - BOTTOM, TOP);

    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"{LEFT}\" y=\"22\" font-size=\"14\" fill=\"#222222\">{title}</text>\n"
    );
    for tick in &y_ticks {
        let at = y(*tick);
        let _ = writeln!(
            out,
            "<line x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{:.1}\" y2=\"{at:.1}\" stroke=\"#dddddd\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#555555\">{tick}</text>",
            WIDTH - RIGHT,
            LEFT - 8.0,
            at + 4.0
        );
    }
    for tick in &x_ticks {
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#555555\">{tick}</text>",
            x(*tick),
            HEIGHT - BOTTOM + 18.0
        );
    }
    let _ = writeln!(
        out,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#222222\">{x_axis}</text>\n\
         <text transform=\"translate(16 {:.1}) rotate(-90)\" text-anchor=\"middle\" fill=\"#222222\">{y_axis}</text>",
        (LEFT + WIDTH - RIGHT) / 2.0,
        HEIGHT - 10.0,
        (TOP + HEIGHT - BOTTOM) / 2.0
    );
    let mut names: Vec<(f64, &Line)> = Vec::new();
    for line in lines.iter().filter(|line| !line.points.is_empty()) {
        let points: Vec<String> =
            line.points.iter().map(|(at, value)| format!("{:.1},{:.1}", x(*at), y(*value))).collect();
        let dashes = if line.dashed { " stroke-dasharray=\"6 4\"" } else { "" };
        let _ = writeln!(
            out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\"{dashes}/>",
            points.join(" "),
            line.colour
        );
        names.push((y(line.points[line.points.len() - 1].1), line));
    }
    // Names stand beside the ends of their lines, and below each other where those are close.
    names.sort_by(|one, other| one.0.total_cmp(&other.0));
    let mut free = 0.0_f64;
    for (at, line) in names {
        free = free.max(at + 4.0);
        let (left, colour) = (WIDTH - RIGHT + 10.0, line.colour);
        let _ = writeln!(out, "<text x=\"{left}\" y=\"{free:.1}\" fill=\"{colour}\">{}</text>", line.name);
        free += 15.0;
    }
    out + "</svg>\n"
}

/// Round values that enclose all of these: `steps` times the powers of ten.
fn ticks(values: impl Iterator<Item = f64>, steps: &[f64]) -> Vec<f64> {
    let (low, high) = values.fold((f64::MAX, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
    // Powers of ten below 1 are divisions: they print as what they are.
    let power = |power: i32, step: f64| if power < 0 { step / 10f64.powi(-power) } else { step * 10f64.powi(power) };
    let all: Vec<f64> = (-6..9).flat_map(|exponent| steps.iter().map(move |step| power(exponent, *step))).collect();
    let first = all.iter().rposition(|tick| *tick <= low * 1.000_001).unwrap_or(0);
    let last = all.iter().position(|tick| *tick >= high * 0.999_999).unwrap_or(all.len() - 1);
    all[first..=last.max(first + 1)].to_vec()
}
