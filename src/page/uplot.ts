/** @module */
export const UPLOT_SCRIPT: string = "";
export const UPLOT_STYLE: string = "";
