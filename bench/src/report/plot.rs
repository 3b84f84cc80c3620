//! The sweep as a picture: two panels on logarithmic scales, one column for each level, grouped by frame size.

use std::fmt::Write;

use crate::lines::sweep::Point;

const LEFT: f64 = 80.0;
const COLUMN: f64 = 60.0;
const PANEL: f64 = 240.0;
const GAP: f64 = 110.0;
const TOP: f64 = 60.0;

/// A curve of a panel.
struct Curve {
    name: &'static str,
    colour: &'static str,
    figure: fn(&Point) -> f64,
}

const THROUGHPUT: [Curve; 2] = [
    Curve { name: "compress and check", colour: "#1f77b4", figure: |point| point.compress_mb_s },
    Curve { name: "decode", colour: "#2ca02c", figure: |point| point.decode_mb_s },
];
const LATENCY: [Curve; 2] = [
    Curve { name: "p50", colour: "#d62728", figure: |point| point.page_p50_us },
    Curve { name: "p99", colour: "#ff7f0e", figure: |point| point.page_p99_us },
];

/// Draws `points` as SVG.
pub fn svg(points: &[Point]) -> String {
    let width = LEFT + COLUMN * points.len() as f64 + 30.0;
    let height = TOP + 2.0 * (PANEL + GAP);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    panel(&mut out, points, TOP, "Throughput by level, MB/s of guest memory", &THROUGHPUT);
    panel(&mut out, points, TOP + PANEL + GAP, "A random 4 KiB page by level, microseconds", &LATENCY);
    out.push_str("</svg>\n");
    out
}

fn panel(out: &mut String, points: &[Point], top: f64, title: &str, curves: &[Curve]) {
    let figures = || curves.iter().flat_map(|curve| points.iter().map(curve.figure));
    let low = figures().fold(f64::INFINITY, f64::min).log10().floor();
    let high = figures().fold(1e-9, f64::max).log10().ceil().max(low + 1.0);
    let y = |figure: f64| top + PANEL * (1.0 - (figure.log10() - low) / (high - low));
    let x = |column: usize| LEFT + COLUMN * (column as f64 + 0.5);
    let right = LEFT + COLUMN * points.len() as f64;

    text(out, LEFT, top - 28.0, "start", "black", title);
    for exponent in low as i32..=high as i32 {
        for digit in [1.0, 2.0, 5.0] {
            let figure = digit * 10_f64.powi(exponent);
            if figure.log10() <= high {
                let at = y(figure);
                line(out, [LEFT, at, right, at], "#dddddd");
                text(out, LEFT - 8.0, at + 4.0, "end", "black", &figure.to_string());
            }
        }
    }
    for (column, point) in points.iter().enumerate() {
        let at = x(column);
        let is_new = column.checked_sub(1).is_none_or(|before| !same_frames(&points[before], point));
        if is_new {
            line(out, [at - COLUMN / 2.0, top, at - COLUMN / 2.0, top + PANEL + 36.0], "#888888");
            let frames = format!("{} KiB frames", point.frame_bytes >> 10);
            text(out, at - COLUMN / 2.0 + 4.0, top + PANEL + 36.0, "start", "#555555", &frames);
        }
        let level = format!("{} {}", point.codec.algorithm, point.codec.level);
        text(out, at, top + PANEL + 18.0, "middle", "black", &level);
    }
    for (number, curve) in curves.iter().enumerate() {
        text(out, LEFT + 180.0 * number as f64, top - 10.0, "start", curve.colour, curve.name);
        for (column, point) in points.iter().enumerate() {
            let (at_x, at_y) = (x(column), y((curve.figure)(point)));
            let _ =
                writeln!(out, "<circle cx=\"{at_x}\" cy=\"{at_y:.1}\" r=\"4\" fill=\"{}\"/>", curve.colour);
            if let Some(before) = column.checked_sub(1).map(|before| &points[before])
                && before.codec.algorithm == point.codec.algorithm
            {
                line(out, [at_x - COLUMN, y((curve.figure)(before)), at_x, at_y], curve.colour);
            }
        }
    }
}

fn same_frames(one: &Point, other: &Point) -> bool {
    (one.codec.algorithm, one.frame_bytes) == (other.codec.algorithm, other.frame_bytes)
}

fn line(out: &mut String, [x1, y1, x2, y2]: [f64; 4], colour: &str) {
    let _ =
        writeln!(out, "<line x1=\"{x1}\" y1=\"{y1:.1}\" x2=\"{x2}\" y2=\"{y2:.1}\" stroke=\"{colour}\"/>");
}

fn text(out: &mut String, x: f64, y: f64, anchor: &str, colour: &str, words: &str) {
    let _ = writeln!(
        out,
        "<text x=\"{x}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{colour}\">{words}</text>"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::Codec;

    #[test]
    fn every_level_has_its_column_and_each_frame_size_its_group() {
        let point = |level, frame_bytes| Point {
            codec: Codec { algorithm: "zstd", level },
            frame_bytes,
            compress_mb_s: 900.0,
            decode_mb_s: 4000.0,
            size: 0.2,
            page_p50_us: 40.0,
            page_p99_us: 90.0,
        };
        let svg = svg(&[point(1, 64 << 10), point(3, 64 << 10), point(9, 256 << 10)]);
        assert_eq!(svg.matches("<circle").count(), 3 * 4);
        assert_eq!(svg.matches("64 KiB frames").count(), 2);
        assert_eq!(svg.matches("256 KiB frames").count(), 2);
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
