/**
 * The parts of `@opentelemetry/api` that are used, by their shape: an application passes its own.
 * @module
 */

/** Attributes of a value or of a span. */
export type AttributesLike = Record<string, string | number>;

/** Description of an instrument. */
export interface InstrumentOptionsLike {
  /** The thing that it counts or measures, in words. */
  description?: string;
  /** `s` or `By`. */
  unit?: string;
  /** Bounds of a histogram's buckets. */
  advice?: { explicitBucketBoundaries?: number[] };
}

/** An observer of instruments that are asked at each collection. */
export interface ObserverLike {
  /** Tells one value. */
  observe(instrument: object, value: number, attributes?: AttributesLike): void;
}

/** A `Meter`. */
export interface MeterLike {
  /** Makes a counter. */
  createCounter(name: string, options?: InstrumentOptionsLike): {
    add(value: number, attributes?: AttributesLike): void;
  };
  /** Makes a histogram. */
  createHistogram(name: string, options?: InstrumentOptionsLike): {
    record(value: number, attributes?: AttributesLike): void;
  };
  /** Makes a gauge that is asked at each collection. */
  createObservableGauge(name: string, options?: InstrumentOptionsLike): object;
  /** Makes a counter that is asked at each collection. */
  createObservableCounter(name: string, options?: InstrumentOptionsLike): object;
  /** Asks for several instruments at once, at each collection. */
  addBatchObservableCallback(callback: (result: ObserverLike) => void | Promise<void>, instruments: object[]): void;
  /** Ends it. */
  removeBatchObservableCallback(callback: (result: ObserverLike) => void | Promise<void>, instruments: object[]): void;
}

/** A `Tracer`. */
export interface TracerLike {
  /** Begins a span. */
  startSpan(name: string, options?: { kind?: number; startTime?: number; attributes?: AttributesLike }): {
    setStatus(status: { code: number; message?: string }): unknown;
    end(endTime?: number): void;
  };
}
