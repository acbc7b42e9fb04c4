/** The Pod Security Standards by name, each as of a version of Kubernetes. */
export const LEVELS = ['privileged', 'baseline', 'restricted'] as const;
type Level = (typeof LEVELS)[number];

export interface LevelVersion {
  readonly level: Level;
  /** 'latest' or 'v1.N'. */ readonly version: string;
}
