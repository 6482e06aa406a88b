import type { Freezer } from "@tundra/store";

async function through(bytes: Uint8Array, stream: CompressionStream | DecompressionStream): Promise<Uint8Array> {
  const body = new Blob([new Uint8Array(bytes)]).stream().pipeThrough(stream);
  return new Uint8Array(await new Response(body).arrayBuffer());
}

/** The option `freezer` of a store, alone or among others, which are applied in order. */
export const gzip: Freezer = {
  id: "gzip", // stands in every object: never give it to anything else
  freeze: (bytes) => through(bytes, new CompressionStream("gzip")),
  thaw: (bytes) => through(bytes, new DecompressionStream("gzip")),
};
