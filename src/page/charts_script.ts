/**
 * The script of the charts, as browsers get it.
 * @module
 */

/** JavaScript. */
export const CHARTS_SCRIPT: string = `"use strict";
`;
