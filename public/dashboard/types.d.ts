/** What the API answers, as far as the dashboard reads it (openapi.yaml has all of it). Types only. */

export interface Memory {
  trunk_bytes: number
  adapter_bytes: number
  head_bytes: number
  specialised: { networks: number; bytes: number }
  rows: { used: number; capacity: number }
  /** Weights of dedicated networks for the resident domains. */
  dedicated_bytes: number
  saving: number
  note?: string
}

export interface Family {
  name: string
  design: string
  input: { height: number; width: number }
  features: number
  execution: { provider: string; runtime: string; precision: string; lanes: number; bank_dtype: string }
  memory: Memory
}

export type Residency = 'resident' | 'cold' | 'loading' | 'failed' | 'inactive'

export interface Version {
  version: string
  bytes: number
  created: string
  design: string
  classes: number
  family: string | null
  active: boolean
  residency: Residency
}

/** A domain of the listing. */
export interface Domain {
  domain: string
  version: string | null
  residency: Residency
  failure?: string
  pinned: boolean
  seed: boolean
  bytes: { pack: number; resident: number }
  family: string | null
  design: string | null
  classes: number
  updated: string | null
  version_count: number
}

/** What the active pack says of itself. */
export interface Card {
  name: string | null
  description: string | null
  license: string | null
  created: string | null
  labels: string[] | null
  metrics: Record<string, unknown> | null
}

/** A domain's own page. */
export interface DomainPage extends Omit<Domain, 'version_count'> {
  versions: Version[]
  card?: Card | null
}

export interface Prediction {
  label: string
  index: number
  score: number
}

export interface Result {
  domain: string
  version: string
  predictions: Prediction[]
}
