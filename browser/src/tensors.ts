// Arrays by name, as safetensors: 8 bytes with the header's length, the header in JSON, the values.

export type Values =
  | Float32Array<ArrayBuffer>
  | Float64Array<ArrayBuffer>
  | Int8Array<ArrayBuffer>
  | Uint8Array<ArrayBuffer>
  | Int16Array<ArrayBuffer>
  | Uint16Array<ArrayBuffer>
  | Int32Array<ArrayBuffer>
  | Uint32Array<ArrayBuffer>
  | BigInt64Array<ArrayBuffer>
  | BigUint64Array<ArrayBuffer>;

export interface Tensor {
  dtype: string;
  shape: number[];
  values: Values;
}

export type Tensors = Record<string, Tensor>;

const ARRAYS = {
  F64: Float64Array,
  F32: Float32Array,
  F16: Uint16Array,
  I64: BigInt64Array,
  U64: BigUint64Array,
  I32: Int32Array,
  U32: Uint32Array,
  I16: Int16Array,
  U16: Uint16Array,
  I8: Int8Array,
  U8: Uint8Array,
  BOOL: Uint8Array,
} as const;

export function read(buffer: ArrayBuffer): Tensors {
  const length = Number(new DataView(buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)));
  const found: Tensors = {};
  for (const [name, { dtype, shape, data_offsets }] of Object.entries<any>(header)) {
    if (name === "__metadata__") continue;
    const kind = ARRAYS[dtype as keyof typeof ARRAYS];
    if (!kind) throw new Error(`input ${name} is of type ${dtype}, which no browser has`);
    const [from, to] = data_offsets.map((offset: number) => 8 + length + offset);
    found[name] = { dtype, shape, values: new kind(buffer.slice(from, to)) };
  }
  return found;
}

export function write(tensors: Tensors): Uint8Array<ArrayBuffer> {
  let size = 0;
  const entries = Object.entries(tensors).map(([name, { dtype, shape, values }]) => {
    const data_offsets = [size, (size += values.byteLength)];
    return [name, { dtype, shape, data_offsets }] as const;
  });
  const header = new TextEncoder().encode(JSON.stringify(Object.fromEntries(entries)));
  const bytes = new Uint8Array(8 + header.length + size);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(header.length), true);
  bytes.set(header, 8);
  let at = 8 + header.length;
  for (const { values } of Object.values(tensors)) {
    bytes.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength), at);
    at += values.byteLength;
  }
  return bytes;
}
