/** What a page of metrics promises: names, types and label names. Values differ from server to server. */

interface MetricShape {
  readonly type: string;
  readonly labels: readonly string[];
}

export function metricShapes(page: string): Record<string, MetricShape> {
  const shapes = new Map<string, { type: string; labels: Set<string> }>();
  for (const line of page.split('\n')) {
    const declared = /^# TYPE (\S+) (\S+)/.exec(line);
    if (declared) shapes.set(declared[1]!, { type: declared[2]!, labels: new Set() });
    const sample = /^([a-zA-Z_:][\w:]*)\{(.*)\} /.exec(line);
    if (!sample) continue;
    const shape = shapes.get(sample[1]!) ?? shapes.get(sample[1]!.replace(/_(bucket|sum|count)$/, ''));
    for (const [, label] of sample[2]!.matchAll(/(\w+)="(?:[^"\\]|\\.)*"/g)) shape?.labels.add(label!);
  }
  return Object.fromEntries(
    [...shapes].map(([name, { type, labels }]) => [name, { type, labels: [...labels].toSorted() }]),
  );
}
