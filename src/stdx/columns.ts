/** Lines of a table: columns as wide as their widest cell, no blanks at the end. */
export function alignColumns(
  rows: readonly (readonly string[])[],
  { gap = '   ' }: { readonly gap?: string } = {},
): string[] {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join(gap)
      .trimEnd(),
  );
}
