// What computes, apart from the page: a file of its own, so that tests reach what the page runs.

export * from "../shared/predict";
export * from "./core/ctc";
export * from "./core/digits";
export * from "./core/listen";
export * from "./core/mel";
export * from "./core/resample";
export * from "./core/tokens";
export * from "./core/wav";
