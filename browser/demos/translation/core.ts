// What computes, apart from the page: a file of its own, so that tests reach what the page runs.

export * from "../shared/predict";
export * from "./core/translate";
export * from "./core/vocabulary";
