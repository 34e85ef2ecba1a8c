/**
 * How many cores this process may use, with a container's CPU quota (cgroup v2 or v1) taken into account:
 * `os.availableParallelism()` does not see the quota. With more threads than that, the kernel throttles the
 * process.
 */
import { readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'

/**
 * Whole cores that this process may use, at least 1.
 * @param root where `/proc` and `/sys` are
 * @param cores of the machine
 */
export function availableCores(root = '/', cores = availableParallelism()): number {
  return Math.max(1, Math.floor(Math.min(cores, cpuQuota(root))))
}

/**
 * Cores that the cgroup of this process and its ancestors allow, possibly a fraction; Infinity without a
 * quota.
 * @param root where `/proc` and `/sys` are
 */
export function cpuQuota(root = '/'): number {
  let least = Number.POSITIVE_INFINITY
  for (const line of read(join(root, 'proc/self/cgroup')).split('\n')) {
    // A line is `hierarchy:controllers:path`; in v2 the hierarchy is 0 and no controllers are named.
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

/**
 * The folders of a cgroup and its ancestors, from `mount` down. In a cgroup namespace the path may begin with
 * `..`; such parts are dropped.
 */
function upwards(mount: string, path: string): string[] {
  const parts = path.split('/').filter((part) => part !== '' && part !== '..')
  return Array.from({ length: parts.length + 1 }, (_, depth) => join(mount, ...parts.slice(0, depth)))
}

/** Quota over period. Infinity without a quota, which is written `max` (v2) or -1 (v1). */
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
