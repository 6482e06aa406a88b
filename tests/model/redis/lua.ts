/**
 * The subset of Lua 5.1 that Tundra's scripts use, translated to JavaScript once and then run at its speed. Whatever
 * lies outside of that subset is refused while translating, so it cannot be misread. differential.test.ts holds it
 * equal to Redis.
 *
 * Strings are binary strings: a character a byte.
 * @module
 */

/** A Lua value; nil is `undefined`. */
export type LuaValue = undefined | boolean | number | string | LuaTable | LuaFunction | Multi;
/** A Lua function; more than one result is a {@linkcode Multi}. */
export type LuaFunction = (...args: LuaValue[]) => LuaValue;

/** Several results of one call. */
export class Multi {
  constructor(readonly values: LuaValue[]) {}
}

/** The surroundings of a script: its keys, arguments and Redis. */
export interface LuaEnvironment {
  KEYS: LuaTable;
  ARGV: LuaTable;
  redis: { call: LuaFunction; pcall: LuaFunction; sha1hex: LuaFunction };
}

/** A translated script. */
export type LuaChunk = (environment: LuaEnvironment) => LuaValue;

/**
 * A table: a list from 1, fields whose names stand in the script, and everything else. No table has both fields and
 * names that are computed: fields are properties, which is several times as fast.
 */
export class LuaTable {
  list: LuaValue[];
  private fields: Record<string, LuaValue> | undefined;
  private rest: Map<LuaValue, LuaValue> | undefined;

  constructor(list: LuaValue[] = [], fields?: Record<string, LuaValue>) {
    this.list = list;
    this.fields = fields;
    this.rest = undefined;
  }

  get(key: LuaValue): LuaValue {
    if (typeof key === "number") {
      const value = this.list[key - 1];
      if (value !== undefined) return value;
    } else if (this.fields !== undefined && typeof key === "string") throw new Error(FIELDS_AND_NAMES);
    return this.rest?.get(key);
  }

  /** Its fields, to read them. */
  read(): Record<string, LuaValue> {
    if (this.fields !== undefined) return this.fields;
    if (this.rest !== undefined) this.refuseNames();
    return NONE;
  }

  /** Its fields, to change them. */
  write(): Record<string, LuaValue> {
    if (this.rest !== undefined) this.refuseNames();
    return this.fields ??= {};
  }

  private refuseNames(): void {
    for (const key of this.rest!.keys()) if (typeof key === "string") throw new Error(FIELDS_AND_NAMES);
  }

  set(key: LuaValue, value: LuaValue): void {
    const { list } = this;
    if (typeof key === "number" && key >= 1 && key <= list.length + 1 && Number.isInteger(key)) {
      if (key <= list.length) {
        list[key - 1] = value;
        while (list.length > 0 && list[list.length - 1] === undefined) list.pop();
      } else if (value === undefined) this.rest?.delete(key);
      else {
        list.push(value);
        for (let next = key + 1; this.rest?.has(next); next++) {
          list.push(this.rest.get(next));
          this.rest.delete(next);
        }
      }
      return;
    }
    if (key === undefined) throw new Error("table index is nil");
    if (this.fields !== undefined && typeof key === "string") throw new Error(FIELDS_AND_NAMES);
    if (value === undefined) this.rest?.delete(key);
    else (this.rest ??= new Map()).set(key, value);
  }
}

const FIELDS_AND_NAMES = "not in the subset of Lua: a table that has both fields and computed names";
const NONE: Record<string, LuaValue> = Object.freeze({});

const chunks = new Map<string, LuaChunk>();

/**
 * Arguments of `redis.call` that may be numbers, from a script's text alone: `HINCRBY, argument 3`. Redis 7.2 formats
 * some numbers as 1e+08 and refuses them (redis/redis#13113); in a test they are never that large.
 */
export function numbersForRedis(source: string): string[] {
  return translate(source).numbers;
}

/** Translates a script; each text once. */
export function compileLua(source: string): LuaChunk {
  let chunk = chunks.get(source);
  if (!chunk) {
    const body = translate(source).js;
    chunk = new Function("R", "T", "LuaTable", "Multi", `"use strict"; return function (G) {\n${body}\n};`)(
      runtime,
      truthy,
      LuaTable,
      Multi,
    ) as LuaChunk;
    chunks.set(source, chunk);
  }
  return chunk;
}

// ---- what translated code calls

function truthy(value: LuaValue): boolean {
  return value !== undefined && value !== false;
}

/** Digits only, so few that no number is rounded: what nearly all numbers in Redis are. */
function isShortInteger(text: string): boolean {
  if (text.length === 0 || text.length > 15) return false;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code < 48 || code > 57) return false;
  }
  return true;
}

function toNumber(value: LuaValue): number | undefined {
  if (typeof value === "number") return value;
  if (typeof value !== "string") return undefined;
  if (isShortInteger(value)) return +value;
  const text = value.trim();
  return /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i.test(text) ? Number(text) : undefined;
}

function number(value: LuaValue): number {
  const read = toNumber(value);
  if (read === undefined) throw new Error(`attempt to perform arithmetic on a ${typeName(value)} value`);
  return read;
}

/** `%.14g`, as Lua writes numbers. */
export function numberText(value: number): string {
  if (Number.isInteger(value) && Math.abs(value) < 1e14) return String(value);
  if (value === Infinity) return "inf";
  if (value === -Infinity) return "-inf";
  const [mantissa, exponent] = value.toExponential(13).split("e") as [string, string];
  const power = Number(exponent);
  const short = (text: string) => text.includes(".") ? text.replace(/\.?0+$/, "") : text;
  if (power < -4 || power >= 14) {
    return `${short(mantissa)}e${power < 0 ? "-" : "+"}${String(Math.abs(power)).padStart(2, "0")}`;
  }
  return short(value.toFixed(13 - power));
}

function typeName(value: LuaValue): string {
  if (value === undefined) return "nil";
  if (value instanceof LuaTable) return "table";
  return typeof value;
}

function fixed(value: number, digits: number): string {
  if (digits === 0 && Number.isSafeInteger(value)) return String(value);
  const scale = 10 ** digits;
  const scaled = value * scale;
  // C rounds halves to even, toFixed rounds them up
  if (Number.isSafeInteger(Math.floor(scaled)) && scaled - Math.floor(scaled) === 0.5) {
    const down = Math.floor(scaled);
    return ((down % 2 === 0 ? down : down + 1) / scale).toFixed(digits);
  }
  return value.toFixed(digits);
}

const patterns = new Map<string, RegExp>();

/** A Lua pattern as a regular expression; only what means the same in both. */
function pattern(lua: string): RegExp {
  let found = patterns.get(lua);
  if (!found) {
    let js = "";
    let inSet = false;
    for (let i = 0; i < lua.length; i++) {
      const c = lua[i]!;
      if (c === "%") {
        const next = lua[++i]!;
        const classes: Record<string, string> = {
          d: "0-9",
          s: " \\t\\n\\v\\f\\r",
          a: "A-Za-z",
          w: "A-Za-z0-9",
          c: "\\0-\\x1f\\x7f",
          x: "0-9A-Fa-f",
        };
        const set = classes[next.toLowerCase()];
        if (/[a-z]/i.test(next) && !set) throw new Error(`pattern %${next} is not in the subset`);
        if (!set) js += "\\" + next;
        else if (inSet && next !== next.toLowerCase()) throw new Error(`pattern %${next} in a set`);
        else js += inSet ? set : next === next.toLowerCase() ? `[${set}]` : `[^${set}]`;
      } else if (c === "[") {
        inSet = true;
        js += c;
      } else if (c === "]") {
        inSet = false;
        js += c;
      } else if (c === "." && !inSet) js += "[\\s\\S]";
      else if (c === "-" && !inSet) js += "*?";
      else if ("{}|\\".includes(c)) js += "\\" + c;
      else js += c;
    }
    found = new RegExp(js, "g");
    patterns.set(lua, found);
  }
  return found;
}

type Part = string | ((value: LuaValue) => string);

const formats = new Map<string, Part[]>();

/** A format as text and what becomes of each argument in between; each is read once. */
function partsOf(format: string): Part[] {
  let parts = formats.get(format);
  if (!parts) {
    parts = [];
    let end = 0;
    for (const match of format.matchAll(/%(?:\.(\d))?([\s\S]?)/g)) {
      const [whole, digits, kind] = match;
      parts.push(format.slice(end, match.index));
      end = match.index + whole.length;
      if (kind === "%") parts.push("%");
      else if (kind === "s" && digits === undefined) parts.push(text);
      else if (kind === "d" && digits === undefined) parts.push((value) => String(Math.trunc(number(value))));
      else if (kind === "f" && digits !== undefined) parts.push((value) => fixed(number(value), Number(digits)));
      else throw new Error(`format %${digits ?? ""}${kind} is not in the subset`);
    }
    parts.push(format.slice(end));
    formats.set(format, parts);
  }
  return parts;
}

const text = (value: LuaValue): string => {
  if (typeof value === "string") return value;
  if (typeof value === "number") return numberText(value);
  throw new Error(`attempt to concatenate a ${typeName(value)} value`);
};

const runtime = {
  index(object: LuaValue, key: LuaValue): LuaValue {
    if (object instanceof LuaTable) return object.get(key);
    throw new Error(`attempt to index a ${typeName(object)} value (${String(key)})`);
  },
  setIndex(object: LuaValue, key: LuaValue, value: LuaValue): void {
    if (!(object instanceof LuaTable)) throw new Error(`attempt to index a ${typeName(object)} value (${String(key)})`);
    object.set(key, value);
  },
  read(object: LuaValue, field: string): Record<string, LuaValue> {
    if (object instanceof LuaTable) return object.read();
    throw new Error(`attempt to index a ${typeName(object)} value (${field})`);
  },
  write(object: LuaValue, field: string): Record<string, LuaValue> {
    if (object instanceof LuaTable) return object.write();
    throw new Error(`attempt to index a ${typeName(object)} value (${field})`);
  },
  callable(f: LuaValue): LuaFunction {
    if (typeof f !== "function") throw new Error(`attempt to call a ${typeName(f)} value`);
    return f;
  },
  one: (value: LuaValue): LuaValue => value instanceof Multi ? value.values[0] : value,
  all: (value: LuaValue): LuaValue[] => value instanceof Multi ? value.values : [value],
  number,
  text,
  length(value: LuaValue): number {
    if (value instanceof LuaTable) return value.list.length;
    if (typeof value === "string") return value.length;
    throw new Error(`attempt to get length of a ${typeName(value)} value`);
  },
  mod: (a: number, b: number): number => a - Math.floor(a / b) * b,
  less(a: LuaValue, b: LuaValue): boolean {
    if ((typeof a === "number" && typeof b === "number") || (typeof a === "string" && typeof b === "string")) {
      return a < b;
    }
    throw new Error(`attempt to compare ${typeName(a)} with ${typeName(b)}`);
  },
  lessEqual(a: LuaValue, b: LuaValue): boolean {
    if ((typeof a === "number" && typeof b === "number") || (typeof a === "string" && typeof b === "string")) {
      return a <= b;
    }
    throw new Error(`attempt to compare ${typeName(a)} with ${typeName(b)}`);
  },
  tonumber: (value: LuaValue): LuaValue => toNumber(value),
  type: (value: LuaValue): LuaValue => typeName(value),
  unpack(list: LuaValue, from: LuaValue = 1, to?: LuaValue): LuaValue {
    const table = list as LuaTable;
    const end = to === undefined ? table.list.length : number(to);
    const values: LuaValue[] = [];
    for (let i = number(from); i <= end; i++) values.push(table.get(i));
    return new Multi(values);
  },
  string: {
    format(format: LuaValue, ...args: LuaValue[]): LuaValue {
      let formatted = "";
      let next = 0;
      for (const part of partsOf(text(format))) formatted += typeof part === "string" ? part : part(args[next++]);
      return formatted;
    },
    match(subject: LuaValue, lua: LuaValue): LuaValue {
      const expression = pattern(text(lua));
      expression.lastIndex = 0;
      const found = expression.exec(text(subject));
      if (!found) return undefined;
      return found.length === 1 ? found[0] : new Multi(found.slice(1));
    },
    gsub(subject: LuaValue, lua: LuaValue, replacement: LuaValue): LuaValue {
      let count = 0;
      const replaced = text(subject).replace(pattern(text(lua)), (match) => {
        count++;
        const by = replacement instanceof LuaTable ? replacement.get(match) : replacement;
        return truthy(by) ? text(by) : match;
      });
      return new Multi([replaced, count]);
    },
    sub(subject: LuaValue, from: LuaValue, to: LuaValue = -1): LuaValue {
      const s = text(subject);
      const at = (i: number) => i < 0 ? Math.max(s.length + i + 1, 0) : i;
      return s.slice(Math.max(at(number(from)), 1) - 1, at(number(to)));
    },
    char: (...codes: LuaValue[]): LuaValue =>
      codes.length === 1 ? String.fromCharCode(number(codes[0])) : String.fromCharCode(...codes.map(number)),
  },
  math: {
    floor: (value: LuaValue): LuaValue => Math.floor(number(value)),
    max: (...values: LuaValue[]): LuaValue => Math.max(...values.map(number)),
    min: (...values: LuaValue[]): LuaValue => Math.min(...values.map(number)),
  },
  table: {
    concat: (list: LuaValue, separator: LuaValue = ""): LuaValue =>
      (list as LuaTable).list.map(text).join(text(separator)),
  },
};

const LIBRARIES: Record<string, readonly string[]> = {
  string: Object.keys(runtime.string),
  math: Object.keys(runtime.math),
  table: Object.keys(runtime.table),
};

// ---- translating

interface Token {
  kind: "name" | "number" | "string" | "symbol" | "end";
  text: string;
}

const KEYWORDS = new Set(
  "and break do else elseif end false for function if in local nil not or repeat return then true until while".split(
    " ",
  ),
);
const TOKEN =
  /\s+|--[^\n]*|([A-Za-z_]\w*)|(\d+\.?\d*(?:e[-+]?\d+)?)|('(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*")|(\.\.\.|\.\.|==|~=|<=|>=|[-+*\/%^#<>=(){}\[\];:,.])/gy;

function tokens(source: string): Token[] {
  const all: Token[] = [];
  TOKEN.lastIndex = 0;
  while (TOKEN.lastIndex < source.length) {
    const at = TOKEN.lastIndex;
    const match = TOKEN.exec(source);
    if (!match || source.startsWith("--[[", at)) {
      throw new Error(`not in the subset of Lua: ${source.slice(at, at + 30)}`);
    }
    const [, name, digits, quoted, symbol] = match;
    if (name !== undefined) all.push({ kind: KEYWORDS.has(name) ? "symbol" : "name", text: name });
    else if (digits !== undefined) all.push({ kind: "number", text: digits });
    else if (quoted !== undefined) all.push({ kind: "string", text: unquote(quoted) });
    else if (symbol !== undefined) all.push({ kind: "symbol", text: symbol });
  }
  all.push({ kind: "end", text: "the end" });
  return all;
}

function unquote(quoted: string): string {
  return quoted.slice(1, -1).replace(/\\(\d{1,3}|.)/g, (_, escape: string) => {
    if (/^\d/.test(escape)) return String.fromCharCode(Number(escape));
    const named: Record<string, string> = { n: "\n", t: "\t", r: "\r", "\\": "\\", "'": "'", '"': '"' };
    if (!(escape in named)) throw new Error(`not in the subset of Lua: \\${escape}`);
    return named[escape]!;
  });
}

/** An expression: its code, and what is known of it. */
interface Code {
  js: string;
  /** `true` or `false`, never nil. */
  isBoolean?: boolean;
  isNumber?: boolean;
  /** A call, which may have any number of results. */
  isCall?: boolean;
  /** As a condition, if that is cheaper than the value. */
  condition?: string;
  /** The target of an assignment. */
  assign?: (value: string) => string;
  flow?: Flow;
}

/** Tells from its text which numbers a value may hold; asked when the whole script was read. */
interface Flow {
  /** It is no number. */
  noNumber: () => boolean;
  /** The table that it is holds none. */
  holdsNone?: () => boolean;
  /** The variable that it is. */
  variable?: Variable;
  /** The value that an assignment to it stores, if it is a table's element or field. */
  store?: (value: Code) => void;
}

/** Everything that a variable is ever given, and that is ever stored in the table that it is. */
interface Variable {
  lua: string;
  isParameter: boolean;
  values: Code[];
  stored: Code[];
  parameters: Variable[];
  returned: Code[];
}

const NO_NUMBER: Flow = { noNumber: () => true };
/** Commands that answer with text, or with lists of text. */
const TEXT_REPLIES = new Set("DUMP GET HGETALL MGET TIME ZMSCORE ZRANGE ZRANGEBYSCORE ZSCORE".split(" "));
const TEXT_FUNCTIONS = /^(R\.string\.(format|match|gsub|sub|char)|R\.table\.concat|R\.type|G\.redis\.sha1hex)$/;

/** Each variable is asked once on the way down: what depends on itself alone is decided by the rest. */
function once(act: () => boolean): () => boolean {
  let asking = false;
  return () => {
    if (asking) return true;
    asking = true;
    try {
      return act();
    } finally {
      asking = false;
    }
  };
}

const isNoNumber = (code: Code): boolean => code.flow?.noNumber() ?? code.isBoolean ?? false;
const holdsNone = (code: Code): boolean => code.flow?.holdsNone?.() ?? false;

const BINARY: Record<string, [left: number, right: number]> = {
  or: [1, 1],
  and: [2, 2],
  "<": [3, 3],
  ">": [3, 3],
  "<=": [3, 3],
  ">=": [3, 3],
  "~=": [3, 3],
  "==": [3, 3],
  "..": [5, 4],
  "+": [6, 6],
  "-": [6, 6],
  "*": [7, 7],
  "/": [7, 7],
  "%": [7, 7],
};
const UNARY = 8;

function translate(source: string): { js: string; numbers: string[] } {
  const list = tokens(source);
  let at = 0;
  let named = 0;
  let scope: Map<string, string>[] = [new Map()];
  const variables = new Map<string, Variable>(); // by their names in JavaScript
  const functions: Variable[] = []; // that are being read, the innermost last
  const fields = new Map<string, Code[]>(); // all that is stored under a name, in whatever table
  const calls: { name: Variable; args: Code[] }[] = [];
  const sent: { command: string; args: Code[] }[] = [];

  const peek = (): Token => list[at]!;
  const is = (text: string): boolean => peek().kind === "symbol" && peek().text === text;
  const accept = (text: string): boolean => {
    if (!is(text)) return false;
    at++;
    return true;
  };
  const expect = (text: string): void => {
    if (!accept(text)) throw new Error(`not in the subset of Lua: ${text} expected, ${peek().text} found`);
  };
  const name = (): string => {
    const token = list[at++]!;
    if (token.kind !== "name") throw new Error(`not in the subset of Lua: a name expected, ${token.text} found`);
    return token.text;
  };
  const declare = (lua: string): string => {
    const js = `${lua}$${++named}`;
    scope.at(-1)!.set(lua, js);
    variables.set(js, { lua, isParameter: false, values: [], stored: [], parameters: [], returned: [] });
    return js;
  };
  const flowOf = (variable: Variable): Flow => ({
    variable,
    noNumber: once(() => variable.values.every(isNoNumber)),
    holdsNone: once(() => variable.stored.every(isNoNumber) && variable.values.every(holdsNone)),
  });
  const lookUp = (lua: string): string | undefined => scope.findLast((block) => block.has(lua))?.get(lua);
  const scoped = <T>(act: () => T): T => {
    scope.push(new Map());
    try {
      return act();
    } finally {
      scope.pop();
    }
  };

  const value = (code: Code): string => code.isCall ? `R.one(${code.js})` : code.js;
  const numeric = (code: Code): string => code.isNumber ? code.js : `R.number(${value(code)})`;
  const condition = (code: Code): string => code.condition ?? (code.isBoolean ? code.js : `T(${value(code)})`);
  /** Arguments or values: the last one may have any number of results. */
  const spread = (codes: Code[]): string =>
    codes.map((code, i) => code.isCall && i === codes.length - 1 ? `...R.all(${code.js})` : value(code)).join(", ");

  function block(...ends: string[]): string {
    return scoped(() => statements(...ends));
  }

  function statements(...ends: string[]): string {
    let js = "";
    while (!ends.some(is) && peek().kind !== "end") {
      if (accept(";")) continue;
      if (is("return")) {
        js += returned();
        break;
      }
      js += statement() + "\n";
    }
    return js;
  }

  function returned(): string {
    expect("return");
    const none = peek().kind === "end" || ["end", "else", "elseif", "until", ";"].some(is);
    const codes = none ? [] : expressions();
    accept(";");
    functions.at(-1)?.returned.push(...codes);
    if (codes.length === 0) return "return;\n";
    if (codes.length === 1) return `return ${codes[0]!.js};\n`;
    return `return new Multi([${spread(codes)}]);\n`;
  }

  function statement(): string {
    if (accept("local")) return accept("function") ? localFunction() : local();
    if (accept("if")) return conditional();
    if (accept("for")) return loop();
    if (accept("while")) {
      const test = condition(expression());
      expect("do");
      const body = block("end");
      expect("end");
      return `while (${test}) {\n${body}}`;
    }
    if (accept("do")) {
      const body = block("end");
      expect("end");
      return `{\n${body}}`;
    }
    if (accept("break")) return "break;";
    return assignmentOrCall();
  }

  function localFunction(): string {
    const js = declare(name());
    return `let ${js}; ${js} = ${functionBody(variables.get(js)!)};`;
  }

  function local(): string {
    const names = [name()];
    while (accept(",")) names.push(name());
    const codes = accept("=") ? expressions() : [];
    const values = adjusted(codes, names.length);
    if (typeof values === "string") {
      const temp = `t$${++named}`;
      const declared = names.map((lua, i) => `${declareAs(lua, codes[i] ?? later(codes.at(-1)!))} = ${temp}[${i}]`);
      return `const ${temp} = [${values}]; let ${declared.join(", ")};`;
    }
    // evaluated before any of the names is declared: `local x = x` means the outer one
    return `let ${names.map((lua, i) => [declareAs(lua, codes[i]), values[i]].join(" = ")).join(", ")};`;
  }

  /** The results of a call after its first: how often gsub() has replaced is a number. */
  function later(call: Code): Code {
    return call.js.startsWith("R.string.gsub(") ? { js: call.js, isNumber: true } : call;
  }

  function declareAs(lua: string, given: Code | undefined): string {
    const js = declare(lua);
    if (given) variables.get(js)!.values.push(given);
    return js;
  }

  /** As many values as there are names; as one list if the last expression is a call that fills several. */
  function adjusted(codes: Code[], count: number): string[] | string {
    if (codes.length < count && codes.at(-1)?.isCall) return spread(codes);
    return Array.from({ length: count }, (_, i) => codes[i] ? value(codes[i]!) : "undefined");
  }

  function conditional(): string {
    let js = `if (${condition(expression())}) {\n`;
    expect("then");
    js += block("elseif", "else", "end") + "}";
    if (accept("elseif")) return `${js} else { ${conditional()} }`;
    if (accept("else")) js += ` else {\n${block("end")}}`;
    expect("end");
    return js;
  }

  function loop(): string {
    const lua = name();
    if (!accept("=")) throw new Error("not in the subset of Lua: a generic for");
    const from = numeric(expression());
    expect(",");
    const to = numeric(expression());
    const step = accept(",") ? expression().js : "1";
    if (!/^\d+$/.test(step)) throw new Error("not in the subset of Lua: a computed step");
    expect("do");
    return scoped(() => {
      const counter = `i$${++named}`;
      const js = declareAs(lua, { js: counter, isNumber: true });
      const body = statements("end");
      expect("end");
      return `for (let ${counter} = ${from}, end = ${to}; ${counter} <= end; ${counter} += ${step}) {\n` +
        `let ${js} = ${counter};\n${body}}`;
    });
  }

  function assignmentOrCall(): string {
    const first = suffixed();
    if (first.isCall) return first.js + ";";
    const targets = [first];
    while (accept(",")) targets.push(suffixed());
    expect("=");
    const codes = expressions();
    if (targets.some((target) => !target.assign)) throw new Error("not in the subset of Lua: an assignment to a value");
    targets.forEach((target, i) => {
      const given = codes[i] ?? (codes.at(-1)!.isCall ? later(codes.at(-1)!) : undefined);
      if (given) target.flow!.store ? target.flow!.store(given) : target.flow!.variable!.values.push(given);
    });
    if (targets.length === 1) return first.assign!(value(codes[0]!)) + ";";
    const values = adjusted(codes, targets.length);
    const temp = `t$${++named}`;
    const list = typeof values === "string" ? values : values.join(", ");
    const assigned = targets.map((target, i) => target.assign!(`${temp}[${i}]`)).reverse();
    return `const ${temp} = [${list}]; ${assigned.join("; ")};`;
  }

  function expressions(): Code[] {
    const codes = [expression()];
    while (accept(",")) codes.push(expression());
    return codes;
  }

  function expression(limit = 0): Code {
    let left: Code;
    if (accept("not")) left = { js: `!${condition(expression(UNARY))}`, isBoolean: true };
    else if (accept("-")) left = { js: `(-${numeric(expression(UNARY))})`, isNumber: true };
    else if (accept("#")) left = { js: `R.length(${value(expression(UNARY))})`, isNumber: true };
    else left = simple();
    for (;;) {
      const operator = peek().text;
      const priority = peek().kind === "symbol" ? BINARY[operator] : undefined;
      if (!priority || priority[0] <= limit) return left;
      at++;
      left = combine(operator, left, expression(priority[1]));
    }
  }

  function combine(operator: string, left: Code, right: Code): Code {
    const [a, b] = [value(left), value(right)];
    switch (operator) {
      case "and":
      case "or": {
        const both = `(${condition(left)} ${operator === "and" ? "&&" : "||"} ${condition(right)})`;
        if (left.isBoolean && right.isBoolean) return { js: both, isBoolean: true };
        const chosen = operator === "and" ? `(T(v) ? ${b} : v)` : `(T(v) ? v : ${b})`;
        const flow = {
          // what a condition stops at is false or nil
          noNumber: () => (operator === "and" || isNoNumber(left)) && isNoNumber(right),
          holdsNone: () => (operator === "and" || holdsNone(left)) && holdsNone(right),
        };
        return { js: `((v) => ${chosen})(${a})`, condition: both, flow };
      }
      case "==":
        return { js: `(${a} === ${b})`, isBoolean: true };
      case "~=":
        return { js: `(${a} !== ${b})`, isBoolean: true };
      case "<":
        return { js: `R.less(${a}, ${b})`, isBoolean: true };
      case ">":
        return { js: `R.less(${b}, ${a})`, isBoolean: true };
      case "<=":
        return { js: `R.lessEqual(${a}, ${b})`, isBoolean: true };
      case ">=":
        return { js: `R.lessEqual(${b}, ${a})`, isBoolean: true };
      case "..":
        return { js: `(R.text(${a}) + R.text(${b}))`, flow: { noNumber: () => isNoNumber(left) && isNoNumber(right) } };
      case "%":
        return { js: `R.mod(${numeric(left)}, ${numeric(right)})`, isNumber: true };
      default:
        return { js: `(${numeric(left)} ${operator} ${numeric(right)})`, isNumber: true };
    }
  }

  function simple(): Code {
    const token = peek();
    if (token.kind === "number") {
      at++;
      return { js: String(Number(token.text)), isNumber: true };
    }
    if (token.kind === "string") {
      at++;
      return { js: JSON.stringify(token.text), flow: NO_NUMBER };
    }
    if (accept("nil")) return { js: "undefined", flow: NO_NUMBER };
    if (accept("true")) return { js: "true", isBoolean: true };
    if (accept("false")) return { js: "false", isBoolean: true };
    if (accept("function")) throw new Error("not in the subset of Lua: a function without a name");
    if (is("{")) return constructor();
    return suffixed();
  }

  function functionBody(self: Variable): string {
    return scoped(() => {
      expect("(");
      const parameters: string[] = [];
      while (!is(")")) {
        const js = declare(name());
        variables.get(js)!.isParameter = true;
        parameters.push(js);
        if (!accept(",")) break;
      }
      expect(")");
      self.parameters = parameters.map((js) => variables.get(js)!);
      self.values.push({ js: "", flow: NO_NUMBER });
      functions.push(self);
      const body = statements("end");
      functions.pop();
      expect("end");
      return `function (${parameters.join(", ")}) {\n${body}}`;
    });
  }

  function constructor(): Code {
    expect("{");
    const listed: Code[] = [];
    const set: string[] = [];
    while (!is("}")) {
      if (peek().kind === "name" && list[at + 1]?.text === "=" && list[at + 1]?.kind === "symbol") {
        const key = name();
        at++;
        const given = expression();
        storeField(key, given);
        set.push(`${propertyOf(key).slice(1)}: ${value(given)}`);
      } else if (is("[")) throw new Error("not in the subset of Lua: a computed field in a constructor");
      else listed.push(expression());
      if (!accept(",") && !accept(";")) break;
    }
    expect("}");
    const flow = { noNumber: () => true, holdsNone: () => listed.every(isNoNumber) };
    const fieldsToo = set.length > 0 ? `, { ${set.join(", ")} }` : "";
    return { js: `new LuaTable([${spread(listed)}]${fieldsToo})`, flow };
  }

  function storeField(key: string, given: Code): void {
    fields.set(key, [...fields.get(key) ?? [], given]);
  }

  function suffixed(): Code {
    let code = primary();
    for (;;) {
      if (accept(".")) {
        const field = name();
        const store = (given: Code) => storeField(field, given);
        const noNumber = once(() => fields.get(field)?.every(isNoNumber) ?? false);
        code = { ...member(code, JSON.stringify(field), true), flow: { noNumber, store } };
      } else if (accept("[")) {
        const key = value(expression());
        expect("]");
        code = { ...member(code, key), flow: element(code) };
      } else if (accept("(")) {
        const codes = is(")") ? [] : expressions();
        expect(")");
        const args = spread(codes);
        const js = code.js.startsWith("R.") ? `${code.js}(${args})` : called(code, args);
        code = { js, isCall: true, flow: flowOfCall(code, codes) };
      } else if (is(":") || is("{") || peek().kind === "string") {
        throw new Error(`not in the subset of Lua: ${peek().text} after an expression`);
      } else return code;
    }
  }

  /** A value that is stored by a computed key is an element of the table's variable. */
  function element(table: Code): Flow {
    const { variable } = table.flow ?? {};
    return {
      noNumber: () => holdsNone(table),
      store(given) {
        if (!variable) throw new Error(`not in the subset of Lua: an element of ${table.js} is assigned to`);
        variable.stored.push(given);
      },
    };
  }

  function flowOfCall(callee: Code, args: Code[]): Flow | undefined {
    if (callee.js === "G.redis.call" || callee.js === "G.redis.pcall") {
      const [{ js }] = args as [Code];
      const command = js.startsWith('"') ? String(JSON.parse(js)) : "a command of the application";
      sent.push({ command, args });
      return TEXT_REPLIES.has(command) ? { noNumber: () => true, holdsNone: () => true } : undefined;
    }
    if (callee.js === "R.unpack") return { noNumber: () => holdsNone(args[0]!) };
    if (TEXT_FUNCTIONS.test(callee.js)) return NO_NUMBER;
    const { variable } = callee.flow ?? {};
    if (!variable) return undefined;
    calls.push({ name: variable, args });
    return {
      noNumber: once(() => variable.returned.every(isNoNumber)),
      holdsNone: once(() => variable.returned.every(holdsNone)),
    };
  }

  const isPush = (parameter: Variable): boolean =>
    [...variables.values()].some(({ lua, parameters }) => lua === "push" && parameters[0] === parameter);

  /** Arguments become what parameters are given; what push() is given becomes what its list holds. */
  function follow(): void {
    for (const { name, args } of calls) {
      const list = args[0]?.flow?.variable;
      if (name.lua === "push" && list) list.stored.push(...args.slice(1));
      else name.parameters.forEach((parameter, i) => parameter.values.push(args[i] ?? { js: "", flow: NO_NUMBER }));
    }
    for (const variable of variables.values()) {
      const alias = variable.values.find((given) => given.flow?.variable);
      const stores = variable.stored.length > 0;
      if (stores && variable.isParameter && !isPush(variable)) {
        throw new Error(`not in the subset of Lua: the table ${variable.lua} that a function is given is changed`);
      }
      if (stores && !variable.isParameter && alias) {
        throw new Error(`not in the subset of Lua: ${variable.lua}, another name of a table, is changed`);
      }
    }
  }

  function called(code: Code, args: string): string {
    return code.js.startsWith("G.") ? `${code.js}(${args})` : `R.callable(${value(code)})(${args})`;
  }

  function propertyOf(field: string): string {
    if (field in NONE) throw new Error(`not in the subset of Lua: a field of the name ${field}`);
    return `.${field}`;
  }

  function member(code: Code, key: string, isField = false): Code {
    const library = /^R\.(\w+)$/.exec(code.js)?.[1];
    if (library && library in LIBRARIES) {
      const member = JSON.parse(key) as string;
      if (!LIBRARIES[library]!.includes(member)) throw new Error(`not in the subset of Lua: ${library}.${member}`);
      return { js: `R.${library}.${member}` };
    }
    if (code.js === "G.redis") return { js: `G.redis.${JSON.parse(key)}` };
    const object = value(code);
    if (!isField) return { js: `R.index(${object}, ${key})`, assign: (to) => `R.setIndex(${object}, ${key}, ${to})` };
    const property = propertyOf(JSON.parse(key));
    return {
      js: `R.read(${object}, ${key})${property}`,
      assign: (to) => `R.write(${object}, ${key})${property} = ${to}`,
    };
  }

  function primary(): Code {
    if (accept("(")) {
      const code = expression();
      expect(")");
      return { ...code, js: code.isCall ? value(code) : code.js, isCall: false, assign: undefined };
    }
    const lua = name();
    const js = lookUp(lua);
    if (js) return { js, assign: (to) => `${js} = ${to}`, flow: flowOf(variables.get(js)!) };
    if (lua === "redis") return { js: "G.redis" };
    if (lua === "KEYS" || lua === "ARGV") {
      return { js: `G.${lua}`, flow: { noNumber: () => true, holdsNone: () => true } };
    }
    if (lua in LIBRARIES || lua === "tonumber" || lua === "type" || lua === "unpack") return { js: `R.${lua}` };
    throw new Error(`not in the subset of Lua: the global ${lua}`);
  }

  const js = statements();
  if (peek().kind !== "end") throw new Error(`not in the subset of Lua: ${peek().text}`);
  scope = [];
  follow();
  const numbers = sent.flatMap(({ command, args }) =>
    args.flatMap((arg, i) => isNoNumber(arg) ? [] : [`${command}, argument ${i}`])
  );
  return { js, numbers };
}
