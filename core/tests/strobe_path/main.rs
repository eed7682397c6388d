//! The machines of the strobe path, driven from outside: switcher, announcer and clock estimator.

mod announcer_properties;
mod announcer_rules;
mod clock_properties;
mod fixture;
mod switcher_clock;
mod switcher_properties;
mod switcher_rules;
mod switcher_silence;
