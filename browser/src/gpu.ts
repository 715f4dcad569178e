// Whether the browser lets this page compute on a GPU.

import { NoBackend } from "./runtime";

interface Gpu {
  requestAdapter(): Promise<{ info?: { vendor: string; architecture: string; description: string } } | null>;
}

/** The adapter's name. */
export async function requireGpu(): Promise<string> {
  const gpu = (navigator as { gpu?: Gpu }).gpu;
  if (!gpu) throw new NoBackend("it has no WebGPU");
  const adapter = await gpu.requestAdapter();
  if (!adapter) throw new NoBackend("it has WebGPU, but no adapter: its GPU or driver is not supported, or GPUs are turned off");
  const { vendor = "", architecture = "", description = "" } = adapter.info ?? {};
  return description || [vendor, architecture].filter((word) => word).join(" ") || "unnamed";
}
