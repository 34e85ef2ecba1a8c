/**
 * The rules that dependencies must keep, checked on the lock file alone: nothing is fetched and nothing is
 * run.
 */

export interface LockEntry {
  version?: string
  resolved?: string
  integrity?: string
  license?: string
  dev?: boolean
  link?: boolean
  hasInstallScript?: boolean
}

export interface LockFile {
  lockfileVersion: number
  packages: Record<string, LockEntry>
}

export interface Manifest {
  dependencies?: Record<string, string>
  devDependencies?: Record<string, string>
}

export interface Findings {
  /** Broken rules, one sentence each, with the remedy. */
  violations: string[]
  /** Facts that break no rule but that an auditor may want to know. */
  notes: string[]
  /** Number of packages that the service needs, and of those that the service and its tests need. */
  production: number
  all: number
  /** Production packages by licence. */
  licences: Map<string, number>
}

/** SPDX licences that production dependencies may have. LGPL is for libvips, which is linked dynamically. */
const allowedLicences = new Set([
  '0BSD',
  'Apache-2.0',
  'BlueOak-1.0.0',
  'BSD-2-Clause',
  'BSD-3-Clause',
  'CC0-1.0',
  'ISC',
  'LGPL-3.0-or-later',
  'MIT',
])

/** Packages whose install script has been read. None runs: .npmrc switches install scripts off. */
const knownScripts = new Set(['onnxruntime-node', 'protobufjs'])

const registry = 'https://registry.npmjs.org/'

/**
 * Checks versions, sources, integrity, licences and install scripts.
 *
 * @param npmrc text of .npmrc
 */
export function checkDependencies(manifest: Manifest, lock: LockFile, npmrc: string): Findings {
  const findings: Findings = { violations: [], notes: [], production: 0, all: 0, licences: new Map() }
  const { violations, notes } = findings
  if (!/^ignore-scripts=true$/m.test(npmrc))
    violations.push(
      '.npmrc does not say ignore-scripts=true: packages would run code when they are installed.',
    )
  for (const [name, range] of Object.entries({ ...manifest.dependencies, ...manifest.devDependencies }))
    if (!/^~?\d+\.\d+\.\d+$/.test(range))
      violations.push(`${name} is asked for as ${range}: pin a version of the registry.`)
  if (lock.lockfileVersion < 3)
    violations.push('The lock file is older than version 3; write it with npm 7 or later.')

  const unsealed: string[] = []
  for (const [path, entry] of Object.entries(lock.packages)) {
    if (path === '') continue
    const name = path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length)
    findings.all += 1
    if (entry.link === true) violations.push(`${name} is a link into this machine.`)
    if (entry.resolved !== undefined && !entry.resolved.startsWith(registry))
      violations.push(`${name} comes from ${entry.resolved}, not from the registry.`)
    if (entry.hasInstallScript === true && !knownScripts.has(name))
      violations.push(`${name} has an install script that nobody has read: read it, then name it in ${FILE}.`)
    if (entry.integrity === undefined && entry.dev === true) unsealed.push(name)
    if (entry.dev === true) continue

    findings.production += 1
    if (entry.integrity?.startsWith('sha512-') !== true)
      violations.push(`${name} has no SHA-512 in the lock file: anything could be installed in its place.`)
    const licence = entry.license ?? 'none stated'
    findings.licences.set(licence, (findings.licences.get(licence) ?? 0) + 1)
    if (!isAllowed(licence))
      violations.push(`${name} has the licence ${licence}, which is not on the list in ${FILE}.`)
  }
  if (unsealed.length > 0)
    notes.push(
      `${unsealed.length} packages of the tests have no SHA-512 in the lock file: ${unsealed.join(', ')}`,
    )
  return findings
}

const FILE = 'bench/dependencies.ts'

/** `A AND B`: both must be allowed. `A OR B`: one of them. */
function isAllowed(licence: string): boolean {
  const plain = licence.replace(/[()]/g, '')
  return plain
    .split(' AND ')
    .every((part) => part.split(' OR ').some((identifier) => allowedLicences.has(identifier.trim())))
}
