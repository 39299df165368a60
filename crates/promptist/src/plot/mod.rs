//! Charts as SVG text, for reports and model cards.

mod line;
mod scatter;

pub use line::{Line, LineChart, LineStyle};
pub use scatter::{Scatter, ScatterPoint};

use plotters::style::RGBColor;

/// The size of a chart that takes a page's width.
pub const FULL: (u32, u32) = (860, 340);
/// The size of one that shares it with another.
pub const HALF: (u32, u32) = (560, 300);

/// Told apart by people with any colour vision (Okabe and Ito).
const COLOURS: [RGBColor; 4] =
    [RGBColor(0, 114, 178), RGBColor(213, 94, 0), RGBColor(0, 158, 115), RGBColor(204, 121, 167)];
/// Of grids and frames.
const RULE: RGBColor = RGBColor(230, 232, 235);

/// Least and greatest, of x and of y.
fn bounds(points: impl Iterator<Item = (f64, f64)>) -> Option<((f64, f64), (f64, f64))> {
    points.fold(None, |bounds, (x, y)| {
        let ((x_min, x_max), (y_min, y_max)) = bounds.unwrap_or(((x, x), (y, y)));
        Some(((x_min.min(x), x_max.max(x)), (y_min.min(y), y_max.max(y))))
    })
}

/// A width that is not 0, even around a single value, or one that only rounding spreads.
fn margin(min: f64, max: f64) -> f64 {
    let width = max - min;
    if width > 1e-12 * max.abs().max(min.abs()) { width } else { max.abs().max(1.0) }
}

/// An axis label: as many digits as tell neighbours apart, thousands as they are spoken.
fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size >= 10_000.0 => format!("{}k", value / 1000.0),
        size if size >= 0.01 => format!("{}", (value * 1000.0).round() / 1000.0),
        _ => format!("{value:.1e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axis_labels_are_short() {
        let labels = [0.0, 12_000.0, 2.5, 0.3000001, -1.0, 8e-5].map(number);
        assert_eq!(labels, ["0", "12k", "2.5", "0.3", "-1", "8.0e-5"]);
    }
}
