// How much memory a runtime's WebAssembly takes: it only ever grows, so what it has at the end is the most it had.

/** Watches every memory that WebAssembly makes in this worker from now on; what it returns is their size in bytes. */
export function watchedHeap(): () => number {
  const memories = new Set<WebAssembly.Memory>();
  const { Memory, instantiate, instantiateStreaming } = WebAssembly;
  const note = (found: unknown) => {
    if (found instanceof Memory) memories.add(found);
  };
  WebAssembly.Memory = class extends Memory {
    constructor(descriptor: WebAssembly.MemoryDescriptor) {
      super(descriptor);
      memories.add(this);
    }
  };
  const noted = <Kind>(made: Kind): Kind => {
    const instance = (made as { instance?: WebAssembly.Instance }).instance ?? (made as WebAssembly.Instance);
    Object.values(instance.exports ?? {}).forEach(note);
    return made;
  };
  const wrapped = WebAssembly as { instantiate: unknown; instantiateStreaming: unknown };
  wrapped.instantiate = (...given: Parameters<typeof instantiate>) => instantiate(...given).then(noted);
  wrapped.instantiateStreaming = (...given: Parameters<typeof instantiateStreaming>) =>
    instantiateStreaming(...given).then(noted);
  return () => [...memories].reduce((sum, { buffer }) => sum + buffer.byteLength, 0);
}
