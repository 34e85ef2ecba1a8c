/**
 * How many cores this process may really use: a container's CPU quota (cgroup v2 or v1), which
 * `os.availableParallelism()` does not see. More threads than that are throttled, not run.
 */
import { readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'

/** Whole cores, at least 1. */
export function availableCores(root = '/', cores = availableParallelism()): number {
  return Math.max(1, Math.floor(Math.min(cores, cpuQuota(root))))
}

/**
 * Cores the cgroup of this process and those above it allow, a fraction perhaps; Infinity without a quota.
 * @param root where `/proc` and `/sys` are
 */
export function cpuQuota(root = '/'): number {
  let least = Number.POSITIVE_INFINITY
  for (const line of read(join(root, 'proc/self/cgroup')).split('\n')) {
    // hierarchy:controllers:path; v2 has the hierarchy 0 and names no controllers.
    const [hierarchy, controllers, ...rest] = line.split(':')
    const path = rest.join(':')
    if (hierarchy === '0' && controllers === '') {
      for (const folder of upwards(join(root, 'sys/fs/cgroup'), path)) {
        const [quota, period] = read(join(folder, 'cpu.max')).split(/\s+/)
        least = Math.min(least, ratio(quota, period))
      }
    } else if (controllers?.split(',').includes('cpu')) {
      for (const folder of upwards(join(root, 'sys/fs/cgroup', 'cpu'), path)) {
        const [quota, period] = ['quota', 'period'].map((name) => read(join(folder, `cpu.cfs_${name}_us`)))
        least = Math.min(least, ratio(quota, period))
      }
    }
  }
  return least
}

/** The folder of a cgroup and those above it, as far up as `mount`. In a namespace the path is not below it. */
function upwards(mount: string, path: string): string[] {
  const parts = path.split('/').filter((part) => part !== '' && part !== '..')
  return Array.from({ length: parts.length + 1 }, (_, depth) => join(mount, ...parts.slice(0, depth)))
}

/** `max` and -1 stand for no quota. */
function ratio(quota: string | undefined, period: string | undefined): number {
  const value = Number(quota || Number.NaN) / Number(period || Number.NaN)
  return value > 0 ? value : Number.POSITIVE_INFINITY
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}
