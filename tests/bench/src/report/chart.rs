//! The chart: a panel for each workload, a bar for each variant's cold and warm jobs.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::{
    coord::Shift,
    prelude::{
        BLACK, Color, DrawingArea, IntoDrawingArea, IntoFont, RGBColor, Rectangle, SVGBackend,
        Text, WHITE,
    },
};

use super::time;
use crate::{results::Results, workloads};

const WIDTH: i32 = 960;
const TITLE_HEIGHT: i32 = 34;
const BAR_HEIGHT: i32 = 20;
const PANEL_GAP: i32 = 16;
/// Where bars start, and how long the longest of a panel is.
const BARS_AT: i32 = 190;
const BARS_WIDTH: f64 = 660.0;

const RAW: RGBColor = RGBColor(120, 120, 120);
const COLD: RGBColor = RGBColor(49, 106, 178);
const WARM: RGBColor = RGBColor(126, 178, 232);
const PEER: RGBColor = RGBColor(216, 147, 64);

struct Panel {
    title: String,
    bars: Vec<Bar>,
}

struct Bar {
    label: String,
    seconds: f64,
    color: RGBColor,
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Writes the chart as SVG.
pub(crate) fn write(path: &Path, results: &Results) -> Result<()> {
    let panels = panels(results);
    let height = panels.iter().map(Panel::height).sum::<i32>() + PANEL_GAP;
    let failed = |error| anyhow!("cannot draw {}: {error}", path.display());
    draw(path, height, &panels).map_err(failed)
}

fn panels(results: &Results) -> Vec<Panel> {
    let panels = workloads::all().into_iter().map(|workload| {
        let cases = results.cases.iter().filter(|case| case.workload == workload.name);
        let bars = cases.flat_map(|case| {
            ["cold", "warm"].into_iter().filter_map(|part| {
                let color = match (case.variant.as_str(), part) {
                    ("raw" | "datafusion", _) => RAW,
                    _ if case.seconds("warm").is_none() => PEER,
                    (_, "cold") => COLD,
                    _ => WARM,
                };
                let label = format!("{} {part}", case.variant);
                Some(Bar { label, seconds: case.seconds(part)?, color })
            })
        });
        let title = format!("{}: {}", workload.name, workload.about);
        Panel { title, bars: bars.collect() }
    });
    panels.filter(|panel| !panel.bars.is_empty()).collect()
}

impl Panel {
    fn height(&self) -> i32 {
        let bars = i32::try_from(self.bars.len()).unwrap_or(i32::MAX);
        TITLE_HEIGHT + bars.saturating_mul(BAR_HEIGHT) + PANEL_GAP
    }

    fn draw(&self, area: &Area<'_>) -> Drawn {
        let bold = ("sans-serif", 16).into_font().color(&BLACK);
        let plain = ("sans-serif", 13).into_font().color(&BLACK);
        area.draw(&Text::new(self.title.clone(), (14, 12), bold))?;
        let longest = self.bars.iter().map(|bar| bar.seconds).fold(f64::MIN_POSITIVE, f64::max);
        let mut top = TITLE_HEIGHT;
        for bar in &self.bars {
            let end = BARS_AT + (bar.seconds / longest * BARS_WIDTH).round() as i32;
            let bottom = top + BAR_HEIGHT;
            area.draw(&Text::new(bar.label.clone(), (14, top + 3), plain.clone()))?;
            let corners = [(BARS_AT, top + 2), (end, bottom - 2)];
            area.draw(&Rectangle::new(corners, bar.color.filled()))?;
            area.draw(&Text::new(time(bar.seconds), (end + 6, top + 3), plain.clone()))?;
            top = bottom;
        }
        Ok(())
    }
}

type Drawn = Result<(), Box<dyn std::error::Error + Send + Sync>>;

fn draw(path: &Path, height: i32, panels: &[Panel]) -> Drawn {
    let mut rest =
        SVGBackend::new(path, (WIDTH.cast_unsigned(), height.cast_unsigned())).into_drawing_area();
    rest.fill(&WHITE)?;
    let whole = rest.clone();
    for panel in panels {
        let (area, below) = rest.split_vertically(panel.height());
        panel.draw(&area)?;
        rest = below;
    }
    whole.present()?;
    Ok(())
}
