#!/bin/busybox sh
# The guest's only program: fills memory with data that can be recognised, then counts for ever.
/bin/busybox --install -s /bin
mkdir -p /proc /sys /dev /ram
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
mount -t tmpfs none /ram
exec >/dev/ttyS0 2>&1 </dev/null

for module in virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_blk; do
    insmod /modules/$module.ko
done
echo "BOOTED Linux $(uname -r)"

yes 'libhypeman demo: this line lives in guest memory' | head -c 24m >/ram/words
head -c 8m /dev/urandom >/ram/noise
md5=$(cat /ram/words /ram/noise | md5sum)
echo "FILLED 32 MiB md5 ${md5%% *}"

n=0
while :; do
    n=$((n + 1))
    echo "TICK $n" | dd of=/dev/vda conv=sync,notrunc oflag=direct 2>/dev/null
    echo "tick $n"
    if [ $((n % 10)) = 0 ]; then
        [ "$(cat /ram/words /ram/noise | md5sum)" = "$md5" ] && echo "MEM OK $n" || echo "MEM BAD $n"
    fi
    usleep 150000
done
